//! Tells the program where to find DuckDB's shared library, so that it runs without `LD_LIBRARY_PATH`: beside itself,
//! in `../lib` as packages lay it out, or where it was when the program was built.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
    if std::env::var_os("CARGO_FEATURE_BUNDLED").is_some() {
        return;
    }
    let here = match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux") => "$ORIGIN",
        Ok("macos") => "@loader_path",
        // Windows looks beside the program by itself.
        _ => return,
    };
    let mut places = vec![here.to_owned(), format!("{here}/../lib")];
    places.extend(std::env::var("DUCKDB_LIB_DIR"));
    for place in places {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{place}");
    }
}
