//! HTTP/1.1 by hand, over one kept-alive socket to 127.0.0.1: cheap enough not to disturb what it
//! measures. Knows status, `Content-Length`, chunks and `Connection: close`, and nothing else.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    length: Option<usize>,
    chunked: bool,
    close: bool,
    /// Where the body begins.
    end: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The server will close the socket.
    pub(crate) close: bool,
    body: (usize, usize),
    chunked: bool,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        if !address.ip().is_loopback() {
            return Err(Error::new(ErrorKind::InvalidInput, "the benchmark sends to 127.0.0.1 only"));
        }
        let stream = tokio::time::timeout(TIMEOUT, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 4096], filled: 0 })
    }

    /// Sends a whole request and reads the whole answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        tokio::time::timeout(TIMEOUT, self.exchange(request)).await?
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).await?;
        self.filled = 0;
        let mut head = None;
        loop {
            self.read_more().await?;
            let seen = &self.buffer[..self.filled];
            if head.is_none() {
                head = parse_head(seen)?;
            }
            let Some(head) = head else { continue };
            if let Some(end) = body_end(seen, head) {
                return Ok(Answer {
                    status: head.status,
                    close: head.close,
                    body: (head.end, end),
                    chunked: head.chunked,
                });
            }
        }
    }

    async fn read_more(&mut self) -> Result<()> {
        if self.filled == self.buffer.len() {
            if self.filled >= ANSWER_BYTES_MAX {
                return Err(Error::new(ErrorKind::InvalidData, "an answer of more than 64 MiB"));
            }
            self.buffer.resize(self.filled * 2, 0);
        }
        let read = self.stream.read(&mut self.buffer[self.filled..]).await?;
        if read == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "closed in the middle of an answer"));
        }
        self.filled += read;
        Ok(())
    }

    /// The body of the answer just read.
    pub(crate) fn body(&self, answer: Answer) -> Result<Vec<u8>> {
        let raw = &self.buffer[answer.body.0..answer.body.1];
        if !answer.chunked {
            return Ok(raw.to_vec());
        }
        let mut whole = Vec::with_capacity(raw.len());
        let mut rest = raw;
        while let Some((size, at)) = chunk_size(rest)? {
            if size == 0 {
                break;
            }
            whole.extend_from_slice(rest.get(at..at + size).unwrap_or_default());
            rest = rest.get(at + size + 2..).unwrap_or_default();
        }
        Ok(whole)
    }

    pub(crate) async fn get(&mut self, path: &str, token: &str) -> Result<(u16, Vec<u8>)> {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nAccept: */*\r\n\r\n");
        let answer = self.ask(request.as_bytes()).await?;
        Ok((answer.status, self.body(answer)?))
    }
}

/// One GET on a socket of its own.
pub(crate) async fn get(address: SocketAddr, path: &str, token: &str) -> Result<(u16, Vec<u8>)> {
    Connection::open(address).await?.get(path, token).await
}

fn bad(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

fn parse_head(seen: &[u8]) -> Result<Option<Head>> {
    let Some(blank) = seen.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&seen[..blank]).map_err(|_| bad("an answer's head is not text"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| bad("an answer without a status"))?;
    let mut head = Head { status, length: None, chunked: false, close: false, end: blank + 4 };
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            head.length = Some(value.parse().map_err(|_| bad("a content-length that is no number"))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            head.chunked = value.eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            head.close = value.eq_ignore_ascii_case("close");
        }
    }
    if head.length.is_none() && !head.chunked && status != 204 {
        return Err(bad("an answer of unknown length"));
    }
    Ok(Some(head))
}

/// Where the body ends, once all of it is there.
fn body_end(seen: &[u8], head: Head) -> Option<usize> {
    if !head.chunked {
        let end = head.end + head.length.unwrap_or(0);
        return (seen.len() >= end).then_some(end);
    }
    seen.ends_with(b"0\r\n\r\n").then_some(seen.len()).filter(|end| *end >= head.end + 5)
}

/// The size of the next chunk and where its bytes begin.
fn chunk_size(rest: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else {
        return Ok(None);
    };
    let digits = std::str::from_utf8(&rest[..line]).map_err(|_| bad("a chunk without a size"))?;
    let size = usize::from_str_radix(digits.split(';').next().unwrap_or(digits).trim(), 16);
    Ok(Some((size.map_err(|_| bad("a chunk without a size"))?, line + 2)))
}
