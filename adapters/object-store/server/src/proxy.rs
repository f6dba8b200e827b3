//! The proxy: one request a connection, each passed on, or spoiled as a rule says.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server dies when it has got this many bytes of the body.
    CutRequest(usize),
    /// The answer ends after this many bytes.
    CutAnswer(usize),
    /// The server does it, and the answer is lost.
    LoseAnswer,
    /// The server is not asked; this status comes, with this body.
    Answer(u16, &'static str),
    /// The server is not asked, and no answer comes for so long.
    Stall(Duration),
}

/// A fault for requests whose first line holds all of `words`, some times.
#[derive(Debug)]
struct Rule {
    words: Vec<&'static str>,
    fault: Fault,
    times: usize,
}

#[derive(Debug)]
struct State {
    upstream: SocketAddr,
    rules: Vec<Rule>,
    seen: Vec<String>,
}

/// A proxy on a free port of the loopback interface. It ends with its process.
#[derive(Clone, Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Begins to pass requests on to `upstream`.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let state = State { upstream, rules: Vec::new(), seen: Vec::new() };
        let proxy = Self { address: listener.local_addr()?, state: Arc::new(Mutex::new(state)) };
        let serving = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let proxy = serving.clone();
                // A request that cannot be passed on ends without an answer: that is its answer.
                thread::spawn(move || proxy.pass(client).ok());
            }
        });
        Ok(proxy)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on requests go to another server.
    pub fn lead_to(&self, upstream: SocketAddr) {
        self.state().upstream = upstream;
    }

    /// The next `times` requests whose first line holds all of `words` end so.
    pub fn spoil(&self, words: &[&'static str], fault: Fault, times: usize) {
        self.state().rules.push(Rule { words: words.to_vec(), fault, times });
    }

    /// All requests are passed on again.
    pub fn heal(&self) {
        self.state().rules.clear();
    }

    /// The first lines of the requests that came and hold all of `words`.
    #[must_use]
    pub fn seen(&self, words: &[&str]) -> Vec<String> {
        let state = self.state();
        let fits = |line: &&String| words.iter().all(|word| line.contains(word));
        state.seen.iter().filter(fits).cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to happen to a request.
    fn judge(&self, line: &str) -> (Option<Fault>, SocketAddr) {
        let mut state = self.state();
        state.seen.push(line.to_owned());
        let fits =
            |rule: &&mut Rule| rule.times > 0 && rule.words.iter().all(|word| line.contains(word));
        let fault = state.rules.iter_mut().find(fits).map(|rule| {
            rule.times -= 1;
            rule.fault
        });
        (fault, state.upstream)
    }

    fn pass(&self, mut client: TcpStream) -> io::Result<()> {
        let Some((head, early)) = head_of(&mut client)? else { return Ok(()) };
        let text = String::from_utf8_lossy(&head).into_owned();
        let line = text.lines().next().unwrap_or_default();
        let body = length_of(&text);
        let (fault, upstream) = self.judge(line);
        match fault {
            Some(Fault::Stall(time)) => {
                thread::sleep(time);
                return Ok(());
            }
            Some(Fault::Answer(status, words)) => {
                let rest = body.saturating_sub(early.len());
                io::copy(&mut (&mut client).take(wide(rest)), &mut io::sink())?;
                let len = words.len();
                write!(client, "HTTP/1.1 {status} Spoiled\r\nContent-Length: {len}\r\n")?;
                return write!(client, "Connection: close\r\n\r\n{words}");
            }
            _ => {}
        }
        let mut server = TcpStream::connect(upstream)?;
        // One request a connection: neither side shall wait for another.
        let (first, rest) = head.split_at(line.len() + 2);
        server.write_all(first)?;
        server.write_all(b"Connection: close\r\n")?;
        server.write_all(rest)?;
        let sent = match fault {
            Some(Fault::CutRequest(most)) => body.min(most),
            _ => body,
        };
        server.write_all(early.get(..sent.min(early.len())).unwrap_or_default())?;
        let left = sent.saturating_sub(early.len());
        io::copy(&mut (&mut client).take(wide(left)), &mut server)?;
        answer(fault, &mut server, &mut client)
    }
}

fn answer(fault: Option<Fault>, server: &mut TcpStream, client: &mut TcpStream) -> io::Result<()> {
    match fault {
        Some(Fault::CutRequest(_)) => server.shutdown(Shutdown::Both)?,
        Some(Fault::LoseAnswer) => drop(io::copy(server, &mut io::sink())?),
        Some(Fault::CutAnswer(most)) => drop(io::copy(&mut server.take(wide(most)), client)?),
        _ => drop(io::copy(server, client)?),
    }
    client.shutdown(Shutdown::Both)
}

/// The head of a request with the empty line, and what came of the body with it.
fn head_of(client: &mut TcpStream) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 8_192]);
    loop {
        let count = client.read(&mut piece)?;
        if count == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Ok(Some((bytes, body)));
        }
    }
}

fn length_of(head: &str) -> usize {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    found.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or_default()
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
