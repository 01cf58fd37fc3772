use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interop_by_hand() {
    let site = Site::new().await;
    let link = site.link(5).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = site.app.clone();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let grant = site.profile(&link).await;
    let dir = std::path::Path::new("/tmp/scepinterop");
    std::fs::create_dir_all(dir).unwrap();
    for a in list_authorities(&site.store, site.tenant).await.unwrap() {
        std::fs::write(dir.join(format!("{:?}.pem", a.kind)), a.certificate_pem).unwrap();
    }
    std::fs::write(
        dir.join("env"),
        format!(
            "URL=http://127.0.0.1:{port}/scep/{}\nGRANT={}\nCHALLENGE={}\n",
            site.tenant, grant.0, grant.1
        ),
    )
    .unwrap();
    let out = tokio::process::Command::new("bash").arg("/tmp/scepinterop.sh").output().await.unwrap();
    println!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if let Ok(leaf) = std::fs::read(dir.join("leaf.der")) {
        let cert = pomona_cms::Certificate::from_der(&leaf).unwrap();
        println!("issued {:?}", cert.grant_id());
        let e = site.enroll(&leaf).await;
        let r = site.issuer.begin_renewal(e).await.unwrap();
        println!("begun {}", r.grant_id);
        std::fs::write(dir.join("env2"), format!("URL=http://127.0.0.1:{port}/scep/{}\nGRANT={}\nSUBJECT={}\n", site.tenant, r.grant_id, grant.0)).unwrap();
        let out = tokio::process::Command::new("bash").arg("/tmp/scepinterop2.sh").output().await.unwrap();
        println!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    }
    panic!("see output");
}
