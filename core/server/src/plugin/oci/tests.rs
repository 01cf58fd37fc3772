//! A registry that means no good: what it sends is refused, and what is secret does not reach where it points.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use super::artifact::Artifact;
use super::reference::Digest;
use super::testing::{Seen, Server, answer, ok, package};
use super::{Access, Reference, pull, push};

/// The artifact as a registry without rules would give it.
fn honest(artifact: &Artifact, seen: &Seen) -> Response<Body> {
    for bytes in [&artifact.config, &artifact.component] {
        if seen
            .line
            .ends_with(&format!("/blobs/{}", Digest::of(bytes)))
        {
            return ok(bytes.clone());
        }
    }
    if seen.line == "GET /v2/plugins/a/manifests/1" {
        return ok(artifact.manifest.clone());
    }
    answer(StatusCode::NOT_FOUND, ("x-test", "x".into()), Vec::new())
}

fn reference(server: &Server) -> Reference {
    format!("oci://{}/plugins/a:1", server.address)
        .parse()
        .unwrap()
}

async fn refusal(server: &Server, access: Access) -> String {
    let told = pull(&reference(server), access, &[]).await.unwrap_err();
    format!("{told:#}")
}

fn open() -> Access {
    Access::plain(None)
}

fn with_password() -> Access {
    Access::plain(Some(("user", "very secret")))
}

#[tokio::test]
async fn an_honest_registry_gives_the_package_and_its_digest() {
    let artifact = Artifact::of(&package()).unwrap();
    let digest = artifact.digest();
    let server = Server::start(move |seen| honest(&artifact, seen)).await;
    let (got, pinned) = pull(&reference(&server), with_password(), &[])
        .await
        .unwrap();
    assert_eq!(got.write().unwrap(), package().write().unwrap());
    assert_eq!(
        pinned.to_string(),
        format!("oci://{}/plugins/a@{digest}", server.address)
    );
    // Nobody asked for it.
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| seen.authorization.is_none())
    );
}

#[tokio::test]
async fn bytes_that_are_others_fewer_or_more_are_refused() {
    for (change, expected) in [
        ("others", "was changed"),
        ("fewer", "cut short"),
        ("more", "more came than"),
        ("endless", "more came than"),
    ] {
        let artifact = Artifact::of(&package()).unwrap();
        let server = Server::start(move |seen| {
            let mut component = artifact.component.clone();
            if !seen.line.contains(&Digest::of(&component).to_string()) {
                return honest(&artifact, seen);
            }
            match change {
                "others" => component[0] ^= 1,
                "fewer" => component.truncate(5),
                "more" => component.push(0),
                _ => {
                    let chunk = axum::body::Bytes::from(vec![0; 1 << 16]);
                    let forever = std::iter::repeat_with(move || Ok::<_, String>(chunk.clone()));
                    return Response::new(Body::from_stream(tokio_stream::iter(forever)));
                }
            }
            ok(component)
        })
        .await;
        let told = refusal(&server, open()).await;
        assert!(told.contains(expected), "{change}: {told}");
    }
}

#[tokio::test]
async fn a_package_that_is_announced_too_large_is_not_even_asked_for() {
    let artifact = Artifact::of(&package()).unwrap();
    let server = Server::start(move |seen| {
        let mut manifest: Value = serde_json::from_slice(&artifact.manifest).unwrap();
        manifest["layers"][0]["size"] = json!(1_u64 << 40);
        match seen.line.contains("/manifests/") {
            true => ok(serde_json::to_vec(&manifest).unwrap()),
            false => honest(&artifact, seen),
        }
    })
    .await;
    let told = refusal(&server, open()).await;
    assert!(told.contains("at most"), "{told}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_manifest_under_a_digest_has_that_digest() {
    let artifact = Artifact::of(&package()).unwrap();
    let server = Server::start(move |_| ok(artifact.manifest.clone())).await;
    let other = Digest::of(b"another");
    let named: Reference = format!("oci://{}/plugins/a@{other}", server.address)
        .parse()
        .unwrap();
    let told = format!("{:#}", pull(&named, open(), &[]).await.unwrap_err());
    assert!(told.contains("something else"), "{told}");
}

#[tokio::test]
async fn a_token_from_elsewhere_is_not_fetched() {
    let elsewhere = Server::start(|_| ok(br#"{"token":"t"}"#.to_vec())).await;
    let address = elsewhere.address;
    let server = Server::start(move |_| {
        let realm = format!(r#"Bearer realm="http://{address}/token",service="x""#);
        answer(
            StatusCode::UNAUTHORIZED,
            ("www-authenticate", realm),
            Vec::new(),
        )
    })
    .await;
    let told = refusal(&server, with_password()).await;
    assert!(told.contains("not the registry that was named"), "{told}");
    assert!(!told.contains("very secret"), "{told}");
    assert!(elsewhere.seen().is_empty(), "{:?}", elsewhere.seen());
    let told = push(&package(), &reference(&server), with_password(), &[])
        .await
        .unwrap_err();
    assert!(format!("{told:#}").contains("not the registry that was named"));
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_token_of_the_registry_itself_is_fetched_with_the_password_and_used() {
    let artifact = Artifact::of(&package()).unwrap();
    let server = Server::start(move |seen| {
        if seen.line.starts_with("GET /token?") {
            return ok(br#"{"token":"t0k"}"#.to_vec());
        }
        if seen.authorization.as_deref() == Some("Bearer t0k") {
            return honest(&artifact, seen);
        }
        let realm = format!(r#"Bearer realm="http://{}/token",service="x""#, seen.host);
        answer(
            StatusCode::UNAUTHORIZED,
            ("www-authenticate", realm),
            Vec::new(),
        )
    })
    .await;
    pull(&reference(&server), with_password(), &[])
        .await
        .unwrap();
    let tokens: Vec<Seen> = server
        .seen()
        .into_iter()
        .filter(|seen| seen.line.starts_with("GET /token?"))
        .collect();
    assert_eq!(tokens.len(), 1, "it is kept");
    assert!(
        tokens[0]
            .line
            .contains("scope=repository%3Aplugins%2Fa%3Apull")
    );
    let basic = tokens[0].authorization.as_deref().unwrap();
    assert!(basic.starts_with("Basic "), "{basic}");
}

#[tokio::test]
async fn a_redirect_takes_no_secret_along_and_never_leaves_tls() {
    // Without TLS the other host is not asked at all.
    let storage = Server::start(|_| ok(Vec::new())).await;
    let address = storage.address;
    let artifact = Artifact::of(&package()).unwrap();
    let server = Server::start(move |seen| match seen.line.contains("/blobs/") {
        true => {
            let to = format!("http://{address}/blob");
            answer(StatusCode::TEMPORARY_REDIRECT, ("location", to), Vec::new())
        }
        false => honest(&artifact, seen),
    })
    .await;
    let told = refusal(&server, with_password()).await;
    assert!(told.contains("without TLS"), "{told}");
    assert!(storage.seen().is_empty());

    // On the same host it is followed, but not for ever.
    let server = Server::start(move |seen| match seen.line.contains("/manifests/") {
        true => ok(Artifact::of(&package()).unwrap().manifest),
        false => {
            let to = "/round-and-round".to_owned();
            answer(StatusCode::TEMPORARY_REDIRECT, ("location", to), Vec::new())
        }
    })
    .await;
    let told = refusal(&server, open()).await;
    assert!(told.contains("without end"), "{told}");
}

#[tokio::test]
async fn storage_on_another_host_is_asked_over_tls_and_told_no_secret() {
    let artifact = Artifact::of(&package()).unwrap();
    let (stored, moved) = (artifact.component.clone(), Digest::of(&artifact.component));
    let (storage, authority) = Server::start_tls(move |_| ok(stored.clone())).await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("authority.pem");
    std::fs::write(&file, authority).unwrap();
    let port = storage.address.port();
    let server = Server::start(move |seen| {
        if seen.authorization.is_none() {
            let basic = ("www-authenticate", "Basic realm=\"x\"".to_owned());
            return answer(StatusCode::UNAUTHORIZED, basic, Vec::new());
        }
        if !seen.line.contains(&moved.to_string()) {
            return honest(&artifact, seen);
        }
        let to = format!("https://localhost:{port}/blob?signed=x");
        answer(StatusCode::FOUND, ("location", to), Vec::new())
    })
    .await;
    let (got, _) = pull(&reference(&server), with_password(), &[file])
        .await
        .unwrap();
    assert_eq!(got.digest(), package().digest());
    let asked = storage.seen();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "GET /blob?signed=x");
    assert_eq!(asked[0].authorization, None);
}

#[tokio::test]
async fn addresses_in_a_manifest_are_not_asked() {
    let foreign = Server::start(|_| ok(Vec::new())).await;
    let address = foreign.address;
    let artifact = Artifact::of(&package()).unwrap();
    let server = Server::start(move |seen| {
        let mut manifest: Value = serde_json::from_slice(&artifact.manifest).unwrap();
        for part in ["/config", "/layers/0"] {
            manifest.pointer_mut(part).unwrap()["urls"] = json!([format!("http://{address}/x")]);
        }
        match seen.line.contains("/manifests/") {
            true => ok(serde_json::to_vec(&manifest).unwrap()),
            false => honest(&artifact, seen),
        }
    })
    .await;
    let (got, _) = pull(&reference(&server), open(), &[]).await.unwrap();
    assert_eq!(got.digest(), package().digest());
    assert!(foreign.seen().is_empty());
}

#[tokio::test]
async fn a_package_is_not_sent_where_another_host_wants_it() {
    let foreign = Server::start(|_| ok(Vec::new())).await;
    let address = foreign.address;
    let server = Server::start(move |seen| match seen.line.starts_with("POST ") {
        true => {
            let to = format!("http://{address}/upload");
            answer(StatusCode::ACCEPTED, ("location", to), Vec::new())
        }
        false => answer(StatusCode::NOT_FOUND, ("x-test", "x".into()), Vec::new()),
    })
    .await;
    let told = push(&package(), &reference(&server), open(), &[])
        .await
        .unwrap_err();
    let told = format!("{told:#}");
    assert!(told.contains("nothing was sent there"), "{told}");
    assert!(foreign.seen().is_empty());
}

#[tokio::test]
async fn a_push_names_the_digest_that_it_has() {
    let artifact = Artifact::of(&package()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().display();
    let wrong: Reference = format!("oci:{folder}@{}", Digest::of(b"x"))
        .parse()
        .unwrap();
    let told = push(&package(), &wrong, open(), &[]).await.unwrap_err();
    assert!(told.to_string().contains("would have the digest"), "{told}");
    let right: Reference = format!("oci:{folder}").parse().unwrap();
    let pinned = push(&package(), &right, open(), &[]).await.unwrap();
    assert_eq!(pinned, right.pinned(artifact.digest()));
    // Under its version, whose plus sign no tag can have.
    let tagged: Reference = format!("oci:{folder}:1.0.0_b").parse().unwrap();
    let (got, _) = pull(&tagged, open(), &[]).await.unwrap();
    assert_eq!(got.write().unwrap(), package().write().unwrap());
}
