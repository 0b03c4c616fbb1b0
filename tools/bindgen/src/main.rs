//! `bindgen WASM TARGET NAME OUT_DIR`: what `wasm-bindgen` makes of a compiled module, as
//! OUT_DIR/NAME.js and OUT_DIR/NAME_bg.wasm. TARGET `module` is the Worker; `web` is for
//! a module that is instantiated by hand.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [wasm, target, name, out_dir] = arguments.as_slice() else {
        eprintln!("usage: bindgen WASM module|web NAME OUT_DIR");
        return ExitCode::FAILURE;
    };
    let mut bindgen = Bindgen::new();
    let chosen = match target.as_str() {
        // After a fault inside wasm the next event begins with a new instance.
        "module" => bindgen
            .reset_state_function(true)
            .force_enable_abort_handler(true)
            .module(true),
        "web" => bindgen.web(true),
        other => {
            eprintln!("bindgen: no target {other}; module and web there are");
            return ExitCode::FAILURE;
        }
    };
    let done = chosen.and_then(|bindgen| {
        bindgen
            .input_path(wasm)
            .out_name(name)
            .typescript(false)
            .generate(out_dir)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bindgen: {error:?}");
            ExitCode::FAILURE
        }
    }
}
