//! A connection that writes prepared bytes and reads as little as possible.
//!
//! Owns the framing of HTTP/1.1 replies, by length or in chunks. Never looks at a header but
//! Content-Length, Transfer-Encoding and Connection. Source: RFC 9112, sections 6 and 7.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use super::Reply;

/// Longer heads and bodies end a run: a command has no reason to be that long.
const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 64 * 1024 * 1024;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(super) struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(url: &Url, tls: &Arc<ClientConfig>) -> io::Result<Self> {
        let (host, port, secure) = crate::client::origin(url).map_err(io::Error::other)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = if secure {
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            let connector = TlsConnector::from(Arc::clone(tls));
            Box::new(connector.connect(name, stream).await?)
        } else {
            Box::new(stream)
        };
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(8 * 1024),
        })
    }

    /// Sends a request; gives the reply and whether the connection can be used again.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> io::Result<(Reply, bool)> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        let head_len = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(malformed());
            }
            self.fill().await?;
        };
        let head = Head::parse(self.buffer.get(..head_len).unwrap_or_default())?;
        let next = match head.length {
            Some(length) => {
                let whole = head_len.saturating_add(length.min(MAX_BODY));
                while self.buffer.len() < whole {
                    self.fill().await?;
                }
                command_uuid(self.buffer.get(head_len..whole).unwrap_or_default())
            }
            None => {
                // The last chunk is empty, and ends with an empty line.
                while !self.buffer.ends_with(b"0\r\n\r\n") {
                    if self.buffer.len() > MAX_BODY {
                        return Err(malformed());
                    }
                    self.fill().await?;
                }
                command_uuid(&unchunk(self.buffer.get(head_len..).unwrap_or_default()))
            }
        };
        let reply = Reply {
            status: head.status,
            next,
        };
        Ok((reply, head.keep))
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

struct Head {
    status: u16,
    /// Absent for a body in chunks.
    length: Option<usize>,
    keep: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let text = str::from_utf8(bytes).map_err(|_| malformed())?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status
            .and_then(|status| status.parse().ok())
            .ok_or_else(malformed)?;
        let mut length = Some(0);
        let mut keep = true;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.parse().map_err(|_| malformed())?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                length = None;
            } else if name.eq_ignore_ascii_case("connection") {
                keep = !value.eq_ignore_ascii_case("close");
            }
        }
        Ok(Self {
            status,
            length,
            keep,
        })
    }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    while let Some(at) = find(bytes, b"\r\n") {
        let size = bytes.get(..at).and_then(|line| str::from_utf8(line).ok());
        let size = size.and_then(|line| line.split(';').next());
        let size = size.and_then(|line| usize::from_str_radix(line.trim(), 16).ok());
        let Some(size @ 1..) = size else { break };
        let start = at.saturating_add(2);
        let end = start.saturating_add(size);
        out.extend_from_slice(bytes.get(start..end).unwrap_or_default());
        bytes = bytes.get(end.saturating_add(2)..).unwrap_or_default();
    }
    out
}

/// The text after the key CommandUUID.
fn command_uuid(body: &[u8]) -> Vec<u8> {
    let between = || {
        let key = b"<key>CommandUUID</key>";
        let rest = body.get(find(body, key)? + key.len()..)?;
        let rest = rest.get(find(rest, b"<string>")? + 8..)?;
        rest.get(..find(rest, b"</string>")?)
    };
    between().unwrap_or_default().to_vec()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uuid_is_found_wherever_it_stands() {
        let body = b"<dict><key>Command</key><dict/><key>CommandUUID</key>\n\t<string>a-1</string>";
        assert_eq!(command_uuid(body), b"a-1");
        for body in [
            &b""[..],
            b"<key>CommandUUID</key>",
            b"<key>CommandUUID</key><string>a",
        ] {
            assert_eq!(command_uuid(body), b"");
        }
    }

    #[test]
    fn heads_tell_status_length_and_connection() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 12\r\nConnection: close\r\n\r\n";
        let head = Head::parse(head).unwrap();
        assert_eq!(
            (head.status, head.length, head.keep),
            (200, Some(12), false)
        );
        let chunked = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(Head::parse(chunked).unwrap().length, None);
        assert!(Head::parse(b"nonsense").is_err());
    }

    #[test]
    fn chunks_are_joined_and_broken_ones_do_no_harm() {
        assert_eq!(unchunk(b"3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n"), b"abcde");
        assert_eq!(unchunk(b"ffffffffffffffff\r\nabc"), b"");
        assert_eq!(unchunk(b"zz\r\n"), b"");
    }
}
