//! The committed description of the admin API is the one that the server has.

#[test]
fn the_committed_description_is_the_one_in_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let written = pomona_engine::http::openapi_json();
    if std::env::var_os("POMONA_WRITE_DOCS").is_some() {
        std::fs::write(path, &written).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap_or_default(),
        written,
        "run the tests with POMONA_WRITE_DOCS=1 to write docs/openapi.json again"
    );
}
