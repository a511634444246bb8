/* The programs run without an environment. The leak checker needs ptrace, which they do not permit. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "detect_leaks=0:abort_on_error=1";
}
