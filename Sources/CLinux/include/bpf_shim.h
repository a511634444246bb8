#ifndef CORRAL_BPF_SHIM_H
#define CORRAL_BPF_SHIM_H

#endif
