//! What host and worker say to each other: MessagePack with named fields, each message in a frame of its own.
//!
//! A frame is the length of its body (u32, little-endian) and the body: a map with one key, the message's name. One file
//! descriptor may travel with a frame. The protocol is one for workers in every language; a worker in Python is in the
//! folder `python` of the repository.

use crate::limits::{self, Excess, Limit};
use crate::plugin::script::Module;
use coldstart_plugin_api::wire;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::cell::RefCell;
use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Result, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// The protocol's number; it changes only when an old worker could misunderstand a new host.
pub const PROTOCOL: u32 = 1;

/// Bytes at the beginning of a body that tell what it is.
const BEGINNING: usize = 64;

/// How often a wait looks up from the socket.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// From the host to the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToWorker {
    /// Who speaks.
    Hello { protocol: u32, api: String },
    /// Shut yourself in, then load the library or script that comes with this frame; a script may have modules.
    Open {
        descriptor: String,
        memory: u64,
        strict: bool,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        modules: Vec<Module>,
    },
    /// Make the instance.
    Create { name: String, params: String, log_level: u8 },
    /// Choose images.
    Select(Question),
    /// Give the state to store.
    Save {},
    /// Take up a stored state.
    Load {
        #[serde(with = "serde_bytes")]
        state: Vec<u8>,
    },
    /// The answer to a call.
    Reply { id: u64, answer: Answer },
    /// The user wants to stop.
    Cancel {},
    /// The end.
    Goodbye {},
}

/// A request for images; the tensors are the host's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    pub round: u32,
    pub budget: u64,
    #[serde(with = "serde_bytes")]
    pub seed: Vec<u8>,
    pub unlabelled: u64,
    pub labelled: u64,
    /// What comes with the request, a MessagePack map; empty for strategies.
    #[serde(with = "serde_bytes", default)]
    pub extra: Vec<u8>,
    pub log_level: u8,
}

/// From the worker to the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToHost {
    /// Who speaks.
    Hello { protocol: u32, api: String, language: String },
    /// The library is loaded: what it says of itself, and how well the worker is shut in.
    Opened { descriptor: String, confinement: String },
    /// The library cannot be loaded: a code such as P011, and why.
    Refused { code: String, message: String },
    /// The instance is made.
    Created {},
    /// The chosen images: u64 and f32, little-endian; or a sizer's report, a MessagePack map.
    Selected {
        #[serde(with = "serde_bytes")]
        ids: Vec<u8>,
        #[serde(with = "serde_bytes")]
        scores: Vec<u8>,
        #[serde(with = "serde_bytes", default)]
        report: Vec<u8>,
    },
    /// The state to store.
    Saved {
        #[serde(with = "serde_bytes")]
        state: Vec<u8>,
    },
    /// The state is taken up.
    Loaded {},
    /// The last request failed.
    Fault(Fault),
    /// The strategy asks the host.
    Call { id: u64, ask: Ask },
    /// A line for the log; no answer.
    Log {
        level: u8,
        target: String,
        message: String,
        #[serde(with = "serde_bytes")]
        fields: Vec<u8>,
    },
    /// How far a long step has come; no answer.
    Progress { stage: String, done: u64, total: u64 },
    /// A tensor is no longer needed; no answer.
    Release { tensor: u64 },
}

/// What a strategy may ask while it chooses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    Supports {
        op: String,
    },
    Invoke {
        op: String,
        #[serde(with = "serde_bytes")]
        args: Vec<u8>,
        inputs: Vec<u64>,
    },
    TensorInfo {
        tensor: u64,
    },
    /// The answer brings a sealed memory file with the bytes.
    TensorRead {
        tensor: u64,
    },
    TensorPut {
        dtype: u8,
        shape: Vec<u64>,
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    Random {
        stream: String,
        count: u64,
    },
}

/// What the host answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Supported {
        yes: bool,
    },
    Invoked {
        #[serde(with = "serde_bytes")]
        answer: Vec<u8>,
        outputs: Vec<u64>,
    },
    Tensor {
        dtype: u8,
        shape: Vec<u64>,
    },
    Kept {
        tensor: u64,
    },
    Random {
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    Fault(Fault),
}

/// A failure, as it crosses every border.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    pub code: i32,
    pub message: String,
    /// A MessagePack map with more, or empty.
    #[serde(with = "serde_bytes")]
    pub detail: Vec<u8>,
}

/// Take bytes for what a worker sends, and for what the host sends, to their end.
pub fn understand(bytes: &[u8]) {
    _ = wire::decode::<ToHost>(bytes);
    _ = wire::decode::<ToWorker>(bytes);
    let Ok((here, mut there)) = UnixStream::pair() else { return };
    // What does not fit into the socket's buffer is cut off, as a dying worker would.
    _ = there.set_nonblocking(true);
    _ = there.write(bytes);
    drop(there);
    let channel = Channel::new(here);
    while channel.receive::<ToHost>(&Allowance::default(), &mut || Ok(())).is_ok() {}
}

/// What the longest messages of a conversation may be, where it depends on the question and the config.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// The chosen images.
    pub selection: Limit,
    /// A tensor that is handed over.
    pub tensor: Limit,
}

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance { selection: limits::FRAME_SELECTION, tensor: limits::FRAME_TENSOR }
    }
}

impl Allowance {
    /// For a question about so many images, put to a worker with so many bytes of memory.
    pub fn of(budget: u64, memory: u64) -> Allowance {
        let selection = limits::FRAME_SELECTION.most.saturating_add(budget.saturating_mul(16));
        let tensor = limits::FRAME_TENSOR.most.min(memory.saturating_add(limits::FRAME_PLAIN.most));
        Allowance { selection: limits::FRAME_SELECTION.at(selection), tensor: limits::FRAME_TENSOR.at(tensor) }
    }
}

/// A message that comes in, and how long it may be.
pub trait Incoming: DeserializeOwned {
    /// Whether a descriptor may come with it.
    const TAKES_DESCRIPTORS: bool;

    /// The limit of a body that begins with these bytes.
    fn limit(beginning: &[u8], allowance: &Allowance) -> Limit;
}

impl Incoming for ToWorker {
    const TAKES_DESCRIPTORS: bool = true;

    fn limit(_: &[u8], _: &Allowance) -> Limit {
        limits::FRAME
    }
}

impl Incoming for ToHost {
    const TAKES_DESCRIPTORS: bool = false;

    fn limit(beginning: &[u8], allowance: &Allowance) -> Limit {
        match Beginning(beginning).kind() {
            Some(("hello" | "opened" | "refused", _)) => limits::FRAME_MANIFEST,
            Some(("selected", _)) => allowance.selection,
            Some(("saved", _)) => limits::STATE,
            Some(("fault", _)) => limits::FRAME_FAULT,
            Some(("log", _)) => limits::FRAME_LOG,
            Some(("call", Some("invoke"))) => limits::FRAME_ARGUMENTS,
            Some(("call", Some("tensor-put"))) => allowance.tensor,
            _ => limits::FRAME_PLAIN,
        }
    }
}

/// The name of the message whose body begins with these bytes; none where they say none.
pub fn name_of(beginning: &[u8]) -> Option<&str> {
    Beginning(beginning).kind().map(|(name, _)| name)
}

/// The first bytes of a body, read word by word.
struct Beginning<'a>(&'a [u8]);

impl<'a> Beginning<'a> {
    /// The message's name, and of a call the name of what is asked; none where the bytes say neither.
    fn kind(mut self) -> Option<(&'a str, Option<&'a str>)> {
        let name = self.key()?;
        let asked = if name == "call" { self.asked() } else { None };
        Some((name, asked))
    }

    /// Of a call: its fields are a number and the question, in any order.
    fn asked(&mut self) -> Option<&'a str> {
        let n_fields = self.map()?;
        for _ in 0..n_fields {
            match self.text()? {
                "ask" => return self.key(),
                "id" => self.skip_number()?,
                _ => return None,
            }
        }
        None
    }

    /// The key of a map with one.
    fn key(&mut self) -> Option<&'a str> {
        if self.map()? == 1 { self.text() } else { None }
    }

    /// The number of entries of a small map.
    fn map(&mut self) -> Option<u8> {
        let head = self.take(1)?[0];
        (head & 0xf0 == 0x80).then_some(head & 0x0f)
    }

    /// A text of at most 255 bytes.
    fn text(&mut self) -> Option<&'a str> {
        let length = match self.take(1)?[0] {
            short @ 0xa0..=0xbf => usize::from(short & 0x1f),
            0xd9 => usize::from(self.take(1)?[0]),
            _ => return None,
        };
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn skip_number(&mut self) -> Option<()> {
        let length = match self.take(1)?[0] {
            0..=0x7f => 0,
            0xcc => 1,
            0xcd => 2,
            0xce => 4,
            0xcf => 8,
            _ => return None,
        };
        self.take(length).map(|_| ())
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Why no message came.
#[derive(Debug)]
pub enum Trouble {
    /// The line broke, or whoever waited has given up.
    Line(Error),
    /// What came is no message.
    Nonsense(&'static str),
    /// More came than may.
    Excess(Excess),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Line(error)
    }
}

impl From<Excess> for Trouble {
    fn from(excess: Excess) -> Trouble {
        Trouble::Excess(excess)
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Error {
        match trouble {
            Trouble::Line(error) => error,
            Trouble::Nonsense(what) => Error::new(ErrorKind::InvalidData, what),
            Trouble::Excess(excess) => Error::new(ErrorKind::InvalidData, excess.to_string()),
        }
    }
}

/// One end of the line.
pub struct Channel {
    socket: UnixStream,
    /// What is to follow the frames that are under way, as soon as the other side reads.
    soon: RefCell<Vec<u8>>,
}

/// What goes on while a channel waits: called again and again, ends the wait with an error.
pub type Glance<'a> = &'a mut dyn FnMut() -> Result<()>;

impl Channel {
    /// This end.
    pub fn new(socket: UnixStream) -> Channel {
        Channel { socket, soon: RefCell::default() }
    }

    /// Send a message, perhaps with a file descriptor; `glance` is called while the other side does not read.
    pub fn send<T: Serialize>(&self, message: &T, fd: Option<BorrowedFd<'_>>, glance: Glance<'_>) -> Result<()> {
        let frame = framed(message)?;
        let before = self.soon.take();
        self.push_all(&before, None, glance)?;
        self.push_all(&frame, fd, glance)
    }

    /// Have a message sent between two others, or while this end waits for one. Does not wait.
    pub fn send_soon<T: Serialize>(&self, message: &T) -> Result<()> {
        self.soon.borrow_mut().extend(framed(message)?);
        Ok(())
    }

    fn push_all(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>, glance: Glance<'_>) -> Result<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            self.wait(PollFlags::OUT, glance)?;
            // The descriptor goes with the first byte, and only once.
            let fd = fd.as_ref().filter(|_| sent == 0).map(std::slice::from_ref);
            match self.push(&bytes[sent..], fd.unwrap_or_default()) {
                Ok(count) => sent += count,
                Err(error) if again(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn push(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        Ok(sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, flags)?)
    }

    /// Send what is to be sent soon, as much as goes without waiting.
    fn push_soon(&self) -> Result<()> {
        let mut soon = self.soon.borrow_mut();
        match self.push(&soon, &[]) {
            Ok(count) => drop(soon.drain(..count)),
            Err(error) if again(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The next message, with the descriptor that came along; errs at the end of the line, on anything that is no message,
    /// and on a message that is longer than its kind may be, before it is read. `glance` is called while nothing comes.
    pub fn receive<T: Incoming>(
        &self,
        allowance: &Allowance,
        glance: Glance<'_>,
    ) -> std::result::Result<(T, Option<OwnedFd>), Trouble> {
        let mut length = [0; 4];
        let fd = self.fill(&mut length, glance)?;
        let unasked = |fd: &Option<OwnedFd>| u64::from(fd.is_some() && !T::TAKES_DESCRIPTORS);
        limits::SENT_DESCRIPTORS.check(unasked(&fd))?;
        let length = u32::from_le_bytes(length) as usize;
        if length > limits::FRAME.length() {
            return Err(Trouble::Nonsense("a message of more than 1 GiB"));
        }
        let mut body = vec![0; length.min(BEGINNING)];
        limits::SENT_DESCRIPTORS.check(unasked(&self.fill(&mut body, glance)?))?;
        T::limit(&body, allowance).check(length as u64)?;
        // Memory is taken as bytes come, not as they are announced.
        while body.len() < length {
            let (have, step) = (body.len(), (length - body.len()).min(1 << 20));
            body.resize(have + step, 0);
            limits::SENT_DESCRIPTORS.check(unasked(&self.fill(&mut body[have..], glance)?))?;
        }
        let message = wire::decode(&body).map_err(|_| Trouble::Nonsense("bytes that are no message"))?;
        Ok((message, fd))
    }

    /// Whether something can be read at once.
    pub fn is_readable(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    fn fill(&self, into: &mut [u8], glance: Glance<'_>) -> Result<Option<OwnedFd>> {
        let (mut have, mut came) = (0, None);
        while have < into.len() {
            self.wait(PollFlags::IN, glance)?;
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let received = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut into[have..])], &mut control, flags);
            match received {
                Ok(received) if received.bytes == 0 => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(received) => have += received.bytes,
                Err(error) if again(&error.into()) => continue,
                Err(error) => return Err(error.into()),
            }
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    came = fds.last().or(came);
                }
            }
        }
        Ok(came)
    }

    /// Until the socket is ready; looks up now and then, also when the other side keeps it busy.
    fn wait(&self, ready: PollFlags, glance: Glance<'_>) -> Result<()> {
        loop {
            glance()?;
            // Never in the middle of a frame: those are sent while this end waits to write.
            let soon = ready == PollFlags::IN && !self.soon.borrow().is_empty();
            if soon {
                self.push_soon()?;
            }
            let unsent = soon && !self.soon.borrow().is_empty();
            let wanted = if unsent { ready | PollFlags::OUT } else { ready };
            let mut fds = [PollFd::new(&self.socket, wanted)];
            match poll(&mut fds, Some(&GLANCE)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) if fds[0].revents() == PollFlags::OUT && unsent => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A message as it goes over the line.
fn framed<T: Serialize>(message: &T) -> Result<Vec<u8>> {
    let body = wire::encode(message);
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= limits::FRAME.length());
    let length = length.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the message is too long"))?;
    Ok([&length.to_le_bytes()[..], &body].concat())
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn again(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    fn pair() -> (Channel, Channel) {
        let (a, b) = UnixStream::pair().unwrap();
        (Channel::new(a), Channel::new(b))
    }

    fn patience() -> Result<()> {
        Ok(())
    }

    fn received(channel: &Channel) -> std::result::Result<ToHost, Trouble> {
        channel.receive(&Allowance::default(), &mut patience).map(|(message, _)| message)
    }

    /// The bytes of a frame that announces so many bytes of body.
    fn frame(length: usize, body: &[u8]) -> Vec<u8> {
        [&(length as u32).to_le_bytes()[..], body].concat()
    }

    #[test]
    fn messages_and_a_descriptor_arrive_as_they_were_sent() {
        let (host, worker) = pair();
        let messages = [
            ToWorker::Hello { protocol: 1, api: "1".to_owned() },
            ToWorker::Load { state: vec![1; 3_000_000] },
            ToWorker::Goodbye {},
        ];
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"tensor").unwrap();
        let (sent, tensor) = (&messages, &file);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for message in sent {
                    host.send(message, Some(tensor.as_fd()), &mut patience).unwrap();
                }
            });
            for message in &messages {
                let (received, fd) = worker.receive::<ToWorker>(&Allowance::default(), &mut patience).unwrap();
                assert_eq!(received, *message);
                let mut file = std::fs::File::from(fd.unwrap());
                let mut text = String::new();
                file.rewind().unwrap();
                file.read_to_string(&mut text).unwrap();
                assert_eq!(text, "tensor");
            }
        });
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let message = wire::encode(&ToHost::Created {});
        let whole = |body: &[u8]| frame(body.len(), body);
        for (bytes, kind) in [
            (vec![], ErrorKind::UnexpectedEof),
            (vec![1, 0], ErrorKind::UnexpectedEof),
            (whole(&message)[..5].to_vec(), ErrorKind::UnexpectedEof),
            (u32::MAX.to_le_bytes().to_vec(), ErrorKind::InvalidData),
            (whole(b""), ErrorKind::InvalidData),
            (whole(&[0xc1; 9]), ErrorKind::InvalidData),
            (whole(&wire::encode(&ToWorker::Goodbye {})), ErrorKind::InvalidData),
        ] {
            let (host, worker) = pair();
            (&worker.socket).write_all(&bytes).unwrap();
            drop(worker);
            assert_eq!(Error::from(received(&host).unwrap_err()).kind(), kind, "{bytes:?}");
        }
    }

    fn call(ask: Ask) -> ToHost {
        ToHost::Call { id: u64::MAX, ask }
    }

    /// One of each kind that a worker sends, with the limit of its length.
    fn kinds() -> Vec<(ToHost, Limit)> {
        let (text, bytes) = (String::new, Vec::new);
        let fault = Fault { code: 1, message: text(), detail: bytes() };
        let selected = ToHost::Selected { ids: bytes(), scores: bytes(), report: bytes() };
        let invoke = Ask::Invoke { op: text(), args: bytes(), inputs: vec![] };
        vec![
            (ToHost::Hello { protocol: 1, api: text(), language: text() }, limits::FRAME_MANIFEST),
            (ToHost::Opened { descriptor: text(), confinement: text() }, limits::FRAME_MANIFEST),
            (ToHost::Refused { code: text(), message: text() }, limits::FRAME_MANIFEST),
            (ToHost::Created {}, limits::FRAME_PLAIN),
            (selected, limits::FRAME_SELECTION),
            (ToHost::Saved { state: bytes() }, limits::STATE),
            (ToHost::Loaded {}, limits::FRAME_PLAIN),
            (ToHost::Fault(fault), limits::FRAME_FAULT),
            (ToHost::Log { level: 1, target: text(), message: text(), fields: bytes() }, limits::FRAME_LOG),
            (ToHost::Progress { stage: text(), done: 1, total: 2 }, limits::FRAME_PLAIN),
            (ToHost::Release { tensor: 1 }, limits::FRAME_PLAIN),
            (call(Ask::Supports { op: text() }), limits::FRAME_PLAIN),
            (call(invoke), limits::FRAME_ARGUMENTS),
            (call(Ask::TensorInfo { tensor: 1 }), limits::FRAME_PLAIN),
            (call(Ask::TensorRead { tensor: 1 }), limits::FRAME_PLAIN),
            (call(Ask::TensorPut { dtype: 0, shape: vec![], bytes: bytes() }), limits::FRAME_TENSOR),
            (call(Ask::Random { stream: text(), count: 1 }), limits::FRAME_PLAIN),
        ]
    }

    #[test]
    fn each_kind_of_message_has_its_limit_whatever_is_in_it() {
        for (message, limit) in kinds() {
            let body = wire::encode(&message);
            assert_eq!(ToHost::limit(&body, &Allowance::default()), limit, "{message:?}");
        }
        // Fields in another order, and numbers of every length.
        for body in [
            &b"\x81\xa4call\x82\xa3ask\x81\xaatensor-put"[..],
            b"\x81\xa4call\x82\xa2id\x05\xa3ask\x81\xaatensor-put",
            b"\x81\xa4call\x82\xa2id\xcd\x01\x00\xa3ask\x81\xaatensor-put",
            b"\x81\xd9\x04call\x82\xa2id\xce\x01\x00\x00\x00\xa3ask\x81\xd9\x0atensor-put",
        ] {
            assert_eq!(ToHost::limit(body, &Allowance::default()), limits::FRAME_TENSOR, "{body:?}");
        }
        // Whatever cannot be told has the least.
        for body in
            [&b""[..], b"\x82", b"\x81\xa4ca", b"\x81\xa4call\x82\xa5other\x01\xa3ask\x81\xa6invoke", &[0xff; 64]]
        {
            assert_eq!(ToHost::limit(body, &Allowance::default()), limits::FRAME_PLAIN, "{body:?}");
        }
    }

    /// The body is never sent here: the length and the first words are enough.
    #[test]
    fn a_message_that_is_too_long_is_refused_before_it_is_read() {
        for (message, limit) in kinds() {
            let (body, most) = (wire::encode(&message), limit.length());
            let beginning = &body[..body.len().min(BEGINNING)];
            let padded = [beginning, &[0; BEGINNING]].concat();
            let (host, worker) = pair();
            (&worker.socket).write_all(&frame(most + 1, &padded)).unwrap();
            match received(&host) {
                Err(Trouble::Excess(excess)) => assert_eq!((excess.limit, excess.figure), (limit, most as u64 + 1)),
                other => panic!("{message:?}: {other:?}"),
            }
            // As long as it may be, it is waited for.
            let (host, worker) = pair();
            (&worker.socket).write_all(&frame(most, &padded)).unwrap();
            drop(worker);
            let error = received(&host).unwrap_err();
            assert!(matches!(&error, Trouble::Line(error) if error.kind() == ErrorKind::UnexpectedEof), "{error:?}");
        }
    }

    #[test]
    fn what_the_question_and_the_config_allow_decides_the_longest() {
        let allowance = Allowance::of(1000, 1 << 20);
        assert_eq!(allowance.selection.most, limits::FRAME_SELECTION.most + 16_000);
        assert_eq!(allowance.tensor.most, (1 << 20) + limits::FRAME_PLAIN.most);
        assert_eq!(Allowance::of(u64::MAX, u64::MAX).selection.most, u64::MAX);
        assert_eq!(Allowance::of(0, u64::MAX).tensor, limits::FRAME_TENSOR);
    }

    #[test]
    fn a_worker_sends_no_descriptor() {
        let file = tempfile::tempfile().unwrap();
        let frame = frame(10, &wire::encode(&ToHost::Created {}));
        for at in [0, 1, 4, 9] {
            let (host, worker) = pair();
            (&worker.socket).write_all(&frame[..at]).unwrap();
            worker.push(&frame[at..], &[file.as_fd()]).unwrap();
            match received(&host) {
                Err(Trouble::Excess(excess)) => assert_eq!(excess.limit, limits::SENT_DESCRIPTORS, "{at}"),
                other => panic!("{at}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_wait_can_be_given_up() {
        let (host, _worker) = pair();
        let mut glances = 0;
        let mut twice = || {
            glances += 1;
            if glances > 2 { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
        };
        let given_up = host.receive::<ToHost>(&Allowance::default(), &mut twice).unwrap_err();
        assert_eq!(Error::from(given_up).kind(), ErrorKind::TimedOut);
        // The other side does not read: the buffer is full at some time.
        let flood = ToWorker::Load { state: vec![0; 4 << 20] };
        glances = 0;
        let mut often = || {
            glances += 1;
            if glances > 100 { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
        };
        assert_eq!(host.send(&flood, None, &mut often).unwrap_err().kind(), ErrorKind::TimedOut);
    }

    /// A request to stop that comes while a long frame is under way follows it, and does not stand in its middle.
    #[test]
    fn what_is_to_be_sent_soon_stands_between_two_frames() {
        let (host, worker) = pair();
        let long = ToWorker::Load { state: vec![7; 4 << 20] };
        let sent = &long;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut told = false;
                let mut cancel_once = || {
                    if !std::mem::replace(&mut told, true) { host.send_soon(&ToWorker::Cancel {}) } else { Ok(()) }
                };
                host.send(sent, None, &mut cancel_once).unwrap();
                // The wait for an answer that does not come sends the rest.
                let mut looks = 0;
                let mut briefly = || {
                    looks += 1;
                    if looks > 3 { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
                };
                host.receive::<ToHost>(&Allowance::default(), &mut briefly).unwrap_err();
            });
            let next = || worker.receive::<ToWorker>(&Allowance::default(), &mut patience).unwrap().0;
            assert_eq!([next(), next()], [long.clone(), ToWorker::Cancel {}]);
        });
    }
}
