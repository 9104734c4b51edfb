//! What host and worker say to each other: MessagePack with named fields, each message in a frame of its own.
//!
//! A frame is the length of its body (u32, little-endian) and the body: a map with one key, the message's name. One file
//! descriptor may travel with a frame. The protocol is one for workers in every language; a worker in Python is in the
//! folder `python` of the repository.

use crate::plugin::script::Module;
use coldstart_plugin_api::wire;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
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

/// No message is longer: a worker cannot make the host hold more for one.
const LONGEST: usize = 1 << 30;

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
    while channel.receive::<ToHost>(&mut || Ok(())).is_ok() {}
}

/// One end of the line.
pub struct Channel {
    socket: UnixStream,
}

/// What goes on while a channel waits: called again and again, ends the wait with an error.
pub type Glance<'a> = &'a mut dyn FnMut() -> Result<()>;

impl Channel {
    /// This end.
    pub fn new(socket: UnixStream) -> Channel {
        Channel { socket }
    }

    /// Send a message, perhaps with a file descriptor; `glance` is called while the other side does not read.
    pub fn send<T: Serialize>(&self, message: &T, fd: Option<BorrowedFd<'_>>, glance: Glance<'_>) -> Result<()> {
        let body = wire::encode(message);
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= LONGEST);
        let length = length.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the message is too long"))?;
        let frame = [&length.to_le_bytes()[..], &body].concat();
        let mut sent = 0;
        while sent < frame.len() {
            self.wait(PollFlags::OUT, glance)?;
            // The descriptor goes with the first byte, and only once.
            let fd = fd.as_ref().filter(|_| sent == 0).map(std::slice::from_ref);
            match self.push(&frame[sent..], fd.unwrap_or_default()) {
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

    /// The next message, with the descriptor that came along; errs at the end of the line and on anything that is no
    /// message. `glance` is called while nothing comes.
    pub fn receive<T: DeserializeOwned>(&self, glance: Glance<'_>) -> Result<(T, Option<OwnedFd>)> {
        let mut length = [0; 4];
        let fd = self.fill(&mut length, glance)?;
        let length = u32::from_le_bytes(length) as usize;
        let nonsense = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
        if length > LONGEST {
            return Err(nonsense("a message of more than 1 GiB"));
        }
        let mut body = Vec::new();
        // Memory is taken as bytes come, not as they are announced.
        while body.len() < length {
            let (have, step) = (body.len(), (length - body.len()).min(1 << 20));
            body.resize(have + step, 0);
            self.fill(&mut body[have..], glance)?;
        }
        let message = wire::decode(&body).map_err(|_| nonsense("bytes that are no message"))?;
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
            let mut fds = [PollFd::new(&self.socket, ready)];
            match poll(&mut fds, Some(&GLANCE)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
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

    #[test]
    fn messages_and_a_descriptor_arrive_as_they_were_sent() {
        let (host, worker) = pair();
        let messages = [
            ToHost::Call { id: 7, ask: Ask::TensorPut { dtype: 0, shape: vec![2, 1], bytes: vec![0; 8] } },
            ToHost::Selected { ids: vec![1; 3_000_000], scores: vec![], report: vec![] },
            ToHost::Fault(Fault { code: 4, message: "panicked".to_owned(), detail: vec![] }),
        ];
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"tensor").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for message in &messages {
                    worker.send(message, Some(file.as_fd()), &mut patience).unwrap();
                }
            });
            for message in &messages {
                let (received, fd) = host.receive::<ToHost>(&mut patience).unwrap();
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
        let framed = |body: &[u8]| [&(body.len() as u32).to_le_bytes()[..], body].concat();
        for (bytes, kind) in [
            (vec![], ErrorKind::UnexpectedEof),
            (vec![1, 0], ErrorKind::UnexpectedEof),
            (framed(&message)[..5].to_vec(), ErrorKind::UnexpectedEof),
            (u32::MAX.to_le_bytes().to_vec(), ErrorKind::InvalidData),
            (framed(b""), ErrorKind::InvalidData),
            (framed(&[0xc1; 9]), ErrorKind::InvalidData),
            (framed(&wire::encode(&ToWorker::Goodbye {})), ErrorKind::InvalidData),
        ] {
            let (host, worker) = pair();
            (&worker.socket).write_all(&bytes).unwrap();
            drop(worker);
            assert_eq!(host.receive::<ToHost>(&mut patience).unwrap_err().kind(), kind, "{bytes:?}");
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
        assert_eq!(host.receive::<ToHost>(&mut twice).unwrap_err().kind(), ErrorKind::TimedOut);
        // The other side does not read: the buffer is full at some time.
        let flood = ToWorker::Load { state: vec![0; 4 << 20] };
        glances = 0;
        let mut often = || {
            glances += 1;
            if glances > 100 { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
        };
        assert_eq!(host.send(&flood, None, &mut often).unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
