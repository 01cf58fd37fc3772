//! What goes wrong before a request is a request (section 4.0): over real sockets, with the limits that the server has.
//!
//! Owns: a small listener, and how each case of the table is made. Time limits are waited for, or jumped over where the
//! engine itself need not run.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use pomona_engine::http::{PeerAddress, TlsPeer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use crate::signing::LAB;
use crate::support::{Card, idle, token_update};
use crate::world::{CHECK_IN, Door, REPORT, Run, Score, World, table};

struct Cast {
    world: World,
    udid: String,
    card: Card,
    address: SocketAddr,
}

#[tokio::test]
async fn every_bad_connection_gets_its_answer() {
    let cast = Cast::new().await;
    let mut score = Score::new("4.0");
    for line in table("4.0") {
        if line.name == "endless chunked body, slow" {
            // Has a test of its own.
            continue;
        }
        let run = Box::pin(cast.play(line.name)).await;
        score.add(&line, cast.world.judge(&line, run).await);
    }
    score.finish(15);
}

/// The clock of the runtime is jumped forward, which the engine's own work would not survive: so it has been stopped.
#[tokio::test]
async fn a_body_that_never_ends_is_given_up_after_a_minute() {
    let cast = Cast::new().await;
    let line = table("4.0")
        .into_iter()
        .find(|line| line.name == "endless chunked body, slow")
        .unwrap();
    let mut run = Run::begun(cast.world.rows().await);
    let router = cast.world.router(Door::Proxy);
    cast.world.stage.engine.stop().await;
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    let bytes = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, std::convert::Infallible>("<"), ()))
    });
    let request = Request::put(format!("/mdm/{}", cast.world.stage.tenant))
        .header("content-type", CHECK_IN)
        .header(
            "client-cert",
            format!(":{}:", STANDARD.encode(&cast.card.der)),
        )
        .extension(PeerAddress(IpAddr::from([127, 0, 0, 1])))
        .body(Body::from_stream(bytes))
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let took = begin.elapsed();
    tokio::time::resume();
    assert_eq!(took.as_secs(), 60);
    run.answers.push(response.status().as_u16().to_string());
    let run = cast.world.done(run).await;
    assert_eq!(cast.world.judge(&line, run).await, Ok(()));
}

impl Cast {
    async fn new() -> Self {
        let world = World::new().await;
        let (udid, card, _) = world.device().await;
        let address = listen(&world).await;
        Self {
            udid,
            card,
            address,
            world,
        }
    }

    fn head(&self, kind: &str, more: &str) -> String {
        format!(
            "PUT /mdm/{} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nClient-Cert: :{}:\r\n{more}",
            self.world.stage.tenant,
            STANDARD.encode(&self.card.der)
        )
    }

    fn whole(&self, kind: &str, body: &str) -> String {
        self.head(
            kind,
            &format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        )
    }

    fn chunked(&self, lengths: &str) -> String {
        let token = if lengths.starts_with('C') { "55" } else { "56" };
        let body = token_update(&self.udid, token);
        self.head(
            CHECK_IN,
            &format!("{lengths}\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        )
    }

    /// Sends bytes and returns the statuses that come back until the connection is closed or nothing comes for a while.
    async fn say(&self, bytes: &[u8], wait: Duration) -> Vec<String> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut from, mut to) = stream.into_split();
        let bytes = bytes.to_vec();
        let sending = tokio::spawn(async move {
            // The server may close before all is said.
            let _ = to.write_all(&bytes).await;
            to
        });
        let mut heard = Vec::new();
        let mut piece = vec![0; 64 << 10];
        while let Ok(Ok(length)) = tokio::time::timeout(wait, from.read(&mut piece)).await {
            if length == 0 {
                break;
            }
            heard.extend_from_slice(&piece[..length]);
        }
        drop(sending);
        let text = String::from_utf8_lossy(&heard).into_owned();
        text.match_indices("HTTP/1.1 ")
            .map(|(at, _)| text[at + 9..at + 12].to_owned())
            .collect()
    }

    async fn play(&self, name: &str) -> Run {
        self.world.stage.clock.advance(120_000_000);
        let mut run = Run::begun(self.world.rows().await);
        let short = Duration::from_secs(1);
        run.answers = match name {
            "1,000 pipelined requests" => {
                let all = self.whole(REPORT, &idle(&self.udid)).repeat(1_000);
                let answers = self.say(all.as_bytes(), Duration::from_secs(3)).await;
                let (first, rest) = answers.split_at(600);
                assert!(first.iter().all(|answer| answer == "200"), "{first:?}");
                assert!(
                    rest.len() == 400 && rest.iter().all(|answer| answer == "429"),
                    "{rest:?}"
                );
                vec!["600 then 429".into()]
            }
            "connection cut in the middle of a body" => {
                let whole = self.whole(CHECK_IN, &token_update(&self.udid, "66"));
                let mut stream = TcpStream::connect(self.address).await.unwrap();
                stream
                    .write_all(&whole.as_bytes()[..whole.len() - 50])
                    .await
                    .unwrap();
                drop(stream);
                tokio::time::sleep(Duration::from_millis(200)).await;
                vec!["closed".into()]
            }
            "connection cut before the answer" => return self.cut_before_the_answer().await,
            "body that stops half way" => {
                let whole = self.whole(CHECK_IN, &token_update(&self.udid, "77"));
                let begin = std::time::Instant::now();
                let answers = self
                    .say(
                        &whole.as_bytes()[..whole.len() - 50],
                        Duration::from_secs(15),
                    )
                    .await;
                assert!(
                    (9..14).contains(&begin.elapsed().as_secs()),
                    "{:?}",
                    begin.elapsed()
                );
                answers
            }
            other => self.say(&self.bytes(other), short).await,
        };
        assert!(!run.answers.is_empty(), "{name}: no answer");
        self.world.done(run).await
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let body = token_update(&self.udid, "88");
        let length = format!("Content-Length: {}\r\n", body.len());
        let chunks = "Transfer-Encoding: chunked\r\n";
        match name {
            "both length headers, the length first" => self.chunked(&format!("{length}{chunks}")),
            "both length headers, the coding first" => self.chunked(&format!("{chunks}{length}")),
            "both length headers, and a request behind" => {
                let behind = self.whole(REPORT, &idle(&self.udid));
                self.chunked(&format!("{chunks}{length}")) + &behind
            }
            "two lengths that differ" => self.head(
                CHECK_IN,
                &format!("{length}Content-Length: 10\r\n\r\n{body}"),
            ),
            "chunks in HTTP/1.0" => self.chunked(chunks).replacen("HTTP/1.1", "HTTP/1.0", 1),
            "chunk of 2^64 bytes" => self.head(
                CHECK_IN,
                &format!("{chunks}\r\n10000000000000000\r\n{body}"),
            ),
            "chunk size that is no number" => {
                self.head(CHECK_IN, &format!("{chunks}\r\nzz\r\n{body}"))
            }
            "header of 64 KiB" => self.head(
                CHECK_IN,
                &format!("X-A: {}\r\n{length}\r\n{body}", "x".repeat(64 << 10)),
            ),
            "signature header of 65 KiB" => self.head(
                CHECK_IN,
                &format!(
                    "Mdm-Signature: {}\r\n{length}\r\n{body}",
                    "A".repeat(65 << 10)
                ),
            ),
            "200 header fields" => {
                let fields: String = (0..200).map(|n| format!("X-{n}: x\r\n")).collect();
                self.head(CHECK_IN, &format!("{fields}{length}\r\n{body}"))
            }
            "GetCACert with a message of 1 MiB" => format!(
                "GET /scep/{}?operation=GetCACert&message={} HTTP/1.1\r\nHost: a\r\n\r\n",
                self.world.stage.tenant,
                "x".repeat(1 << 20)
            ),
            "folded signature header" => {
                let signature =
                    STANDARD.encode(crate::signing::signature(&LAB.p256, body.as_bytes()));
                let (first, rest) = signature.split_at(64);
                self.head(
                    CHECK_IN,
                    &format!("Mdm-Signature: {first}\r\n {rest}\r\n{length}\r\n{body}"),
                )
            }
            "no HTTP at all" => "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".into(),
            "endless chunked body, fast" => {
                let piece = format!("{:x}\r\n{}\r\n", 64 << 10, "x".repeat(64 << 10));
                self.head(CHECK_IN, &format!("{chunks}\r\n{}", piece.repeat(200)))
            }
            other => panic!("the table names a case that nobody makes: {other}"),
        }
        .into_bytes()
    }

    /// The device asks, goes away, asks again, and asks once more.
    async fn cut_before_the_answer(&self) -> Run {
        let (udid, card, enrollment) = self.world.device().await;
        let uuid = self.world.queue("DeviceInformation", enrollment).await;
        let request = format!(
            "PUT /mdm/{} HTTP/1.1\r\nHost: a\r\nContent-Type: {REPORT}\r\nClient-Cert: :{}:\r\nContent-Length: {}\r\n\r\n{}",
            self.world.stage.tenant,
            STANDARD.encode(&card.der),
            idle(&udid).len(),
            idle(&udid)
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        drop(stream);
        let sql = "SELECT count(*) FROM delivery WHERE state = 1";
        let mut run = Run::begun(self.world.rows().await);
        // The request may be dropped with its connection before it was stored, and then it was never asked.
        for _ in 0..20 {
            if self.world.stage.sql.number(sql).await > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let shot = self.world.shot(&card, REPORT, idle(&udid));
        let first = self.world.pass(&shot, 200).await;
        assert!(String::from_utf8_lossy(&first).contains(&uuid));
        run.before = self.world.rows().await;
        let second = self.world.pass(&shot, 200).await;
        assert_eq!(first, second, "the same bytes");
        run.answers.push("200".into());
        // The count of sendings of this delivery moves, and nothing else.
        run.after = run.before.clone();
        run
    }
}

/// A listener as the server's, without TLS.
async fn listen(world: &World) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let router = world.router(Door::Proxy);
    tokio::spawn(async move {
        while let Ok((stream, peer)) = socket.accept().await {
            let router = router.clone().map_request(move |mut request: Request<_>| {
                request.extensions_mut().insert(PeerAddress(peer.ip()));
                request.extensions_mut().insert(TlsPeer(None));
                request
            });
            tokio::spawn(async move {
                let mut builder = auto::Builder::new(TokioExecutor::new());
                builder
                    .http1()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(10))
                    .max_buf_size(64 * 1024);
                let service = TowerToHyperService::new(router);
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}
