//! The binary: reads the command line, runs one verb, and turns what came of it into an exit code.

use std::process::ExitCode;

/// Callbacks are allocated by the HTTP threads and freed by the booker, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // One TLS provider for everything; two would make rustls refuse to choose.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(tallyhook::cli::run());
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            ExitCode::from(code)
        }
        Err(error) => {
            tallyhook::cli::output::tell(&format!("tallyhook: no runtime: {error}"));
            ExitCode::FAILURE
        }
    }
}
