//! The way to an admin socket from outside its pod: a process in the container passes its standard
//! input and output on, so that no port is opened and who may is who may `exec`.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    thread,
};

/// Bytes that are moved at a time.
const CHUNK: usize = 64 << 10;

/// Passes standard input to a socket, and what it answers to standard output, until the socket is
/// closed from the other side.
///
/// # Errors
/// When nobody listens there, or the answer cannot be passed on.
pub fn pass_on(socket: &Path) -> io::Result<()> {
    join(UnixStream::connect(socket)?, io::stdin(), io::stdout().lock())
}

/// What comes from `input` goes to the stream while that answers to `output`. Input that lasts longer
/// than the answer is nobody's.
fn join(stream: UnixStream, input: impl Read + Send + 'static, output: impl Write) -> io::Result<()> {
    let to = stream.try_clone()?;
    thread::Builder::new().name("input".to_owned()).spawn(move || {
        // The other side ends it: what it could not take it does not miss.
        let _ = copy(input, &to);
        let _ = to.shutdown(Shutdown::Write);
    })?;
    copy(stream, output)
}

fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                to.write_all(&chunk[..length])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
        thread,
    };

    use super::join;

    #[test]
    fn a_question_goes_in_and_its_answer_comes_out() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            let mut asked = String::new();
            theirs.read_to_string(&mut asked).unwrap();
            theirs.write_all(&vec![b'x'; 200_000]).unwrap();
            asked
        });
        let mut answer = Vec::new();
        join(ours, &b"what?"[..], &mut answer).unwrap();
        assert_eq!((server.join().unwrap().as_str(), answer.len()), ("what?", 200_000));
    }

    #[test]
    fn an_answer_ends_it_while_there_is_still_input() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (input, held) = UnixStream::pair().unwrap();
        drop(theirs);
        join(ours, input, &mut Vec::new()).unwrap();
        drop(held);
    }
}
