/// What `--version` and `/v1/version` print.
let corralVersion = "0.1.0"
