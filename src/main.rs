use std::process::ExitCode;

fn main() -> ExitCode {
    pointsman::app::main()
}
