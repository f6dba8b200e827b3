//! Moving bytes: what the contract of [`LogFile`](super::LogFile) asks of a call, and the loops
//! that finish what the operating system did in part.

use std::io::{self, IoSlice};

/// The most slices one call takes: a flush has one or two, a ring that wraps adds one.
const SLICES: usize = 64;

/// Checks a write against the contract and returns its bytes in all.
pub(super) fn check_write(offset: u64, bufs: &[&[u8]], unit: u32) -> io::Result<u64> {
    check_multiple("the offset", offset, unit)?;
    let mut total = 0_u64;
    for buf in bufs {
        let len = bytes(buf.len());
        check_multiple("the length of a slice", len, unit)?;
        total = total.saturating_add(len);
    }
    check_end(offset, total)?;
    Ok(total)
}

/// Checks a read against the contract.
pub(super) fn check_read(offset: u64, len: usize, unit: u32) -> io::Result<()> {
    check_multiple("the offset", offset, unit)?;
    check_multiple("the length", bytes(len), unit)?;
    check_end(offset, bytes(len))
}

/// Checks that a buffer starts where the device can take it from.
#[cfg(target_os = "linux")]
pub(super) fn check_place(buf: &[u8], alignment: u32) -> io::Result<()> {
    if buf.is_empty() {
        // It is nowhere, and nothing is taken from there.
        return Ok(());
    }
    let place = buf.as_ptr().addr();
    match usize::try_from(alignment).map(|alignment| place.checked_rem(alignment)) {
        Ok(None | Some(0)) => Ok(()),
        _ => Err(refuse(format!("the buffer does not start on a multiple of {alignment} bytes"))),
    }
}

fn check_multiple(what: &str, value: u64, unit: u32) -> io::Result<()> {
    match value.checked_rem(u64::from(unit)) {
        Some(0) => Ok(()),
        _ => Err(refuse(format!("{what}, {value}, is not a multiple of {unit} bytes"))),
    }
}

/// Offsets are signed for the kernel, and the largest unsigned one means "wherever I was".
fn check_end(offset: u64, len: u64) -> io::Result<()> {
    match offset.checked_add(len).map(i64::try_from) {
        Some(Ok(_)) => Ok(()),
        _ => Err(refuse(format!("{len} bytes from {offset} on lie beyond every file"))),
    }
}

pub(super) fn refuse(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// A length in memory as one in a file.
pub(super) fn bytes(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Writes all of `bufs` by as many calls of `call(slices, offset)` as it takes.
///
/// Of a short write only whole granules count, as the next call must start at a multiple of one;
/// a call that moved less than that is an error, for it could go on like this for ever.
pub(super) fn write_all(
    offset: u64,
    bufs: &[&[u8]],
    granule: u32,
    mut call: impl FnMut(&[IoSlice<'_>], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let total = bufs.iter().fold(0_u64, |sum, buf| sum.saturating_add(bytes(buf.len())));
    let mut done = 0;
    while done < total {
        let mut room = [IoSlice::new(&[]); SLICES];
        let (slices, asked) = remaining(bufs, done, &mut room);
        let moved = match call(slices, offset.saturating_add(done)) {
            Ok(moved) => bytes(moved),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if moved > asked {
            return Err(io::Error::other(format!(
                "{moved} bytes written where {asked} were asked"
            )));
        }
        let whole = moved - moved.checked_rem(u64::from(granule)).unwrap_or(0);
        if whole == 0 {
            return Err(io::Error::new(
                io::ErrorKind::WriteZero,
                format!("a write of {asked} bytes moved {moved}"),
            ));
        }
        done += whole;
    }
    Ok(())
}

/// The slices that are left after the first `done` bytes of `bufs`, as far as `room` goes, and
/// their bytes.
fn remaining<'r, 'b>(
    bufs: &[&'b [u8]],
    done: u64,
    room: &'r mut [IoSlice<'b>; SLICES],
) -> (&'r [IoSlice<'b>], u64) {
    let mut skip = usize::try_from(done).unwrap_or(usize::MAX);
    let mut asked = 0;
    let mut count = 0;
    let mut places = room.iter_mut();
    for buf in bufs {
        let Some(left) = buf.get(skip..).filter(|left| !left.is_empty()) else {
            skip = skip.saturating_sub(buf.len());
            continue;
        };
        skip = 0;
        let Some(place) = places.next() else { break };
        *place = IoSlice::new(left);
        asked += bytes(left.len());
        count += 1;
    }
    (room.get(..count).unwrap_or_default(), asked)
}

/// Reads until `buf` is full or the file ends, by as many calls of `call(buf, offset)` as it
/// takes; returns how many bytes.
///
/// A read that stops inside a granule has met the end: direct I/O stops nowhere else.
pub(super) fn read_full(
    offset: u64,
    buf: &mut [u8],
    granule: u32,
    mut call: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let asked = rest.len();
        match call(rest, offset.saturating_add(bytes(done))) {
            Ok(0) => break,
            Ok(moved) if moved > asked => {
                return Err(io::Error::other(format!("{moved} bytes read where {asked} fit")));
            }
            Ok(moved) => {
                done += moved;
                if bytes(moved).checked_rem(u64::from(granule)) != Some(0) {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    /// A file whose calls do what a list says, and nothing once it is used up.
    fn write_by(script: &[io::Result<usize>], bufs: &[&[u8]]) -> (io::Result<()>, Vec<u8>) {
        let mut file = Vec::new();
        let mut steps = script.iter();
        let result = write_all(4, bufs, 4, |slices, offset| {
            file.resize(usize::try_from(offset).unwrap() - 4, 0);
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            match steps.next() {
                None => Ok(0),
                Some(Ok(count)) => {
                    file.extend(all.iter().take(*count));
                    Ok((*count).min(all.len() + 1))
                }
                Some(Err(error)) => Err(io::Error::from(error.kind())),
            }
        });
        (result, file)
    }

    #[test]
    fn short_writes_are_finished() {
        let bufs: [&[u8]; 4] = [b"abcdefgh", b"", b"ijkl", b"mnop"];
        let whole = b"abcdefghijklmnop";
        let interrupted = || Err(io::Error::from(ErrorKind::Interrupted));
        // Whole in one, by granules, across slices, off the granule, after signals.
        for script in [
            vec![Ok(16)],
            vec![Ok(4), Ok(4), Ok(4), Ok(4)],
            vec![Ok(12), Ok(4)],
            vec![Ok(7), Ok(11), Ok(4)],
            vec![interrupted(), Ok(8), interrupted(), interrupted(), Ok(8)],
        ] {
            let (result, file) = write_by(&script, &bufs);
            assert!(result.is_ok(), "{script:?}: {result:?}");
            assert_eq!(file, whole, "{script:?}");
        }
    }

    #[test]
    fn writes_that_go_nowhere_are_errors() {
        let bufs: [&[u8]; 1] = [b"abcdefgh"];
        for (script, kind) in [
            (vec![Ok(0)], ErrorKind::WriteZero),
            (vec![Ok(4), Ok(0)], ErrorKind::WriteZero),
            (vec![Ok(4), Ok(3)], ErrorKind::WriteZero),
            (vec![Ok(9)], ErrorKind::Other),
            (vec![Ok(4), Err(io::Error::from(ErrorKind::StorageFull))], ErrorKind::StorageFull),
        ] {
            assert_eq!(write_by(&script, &bufs).0.unwrap_err().kind(), kind, "{script:?}");
        }
    }

    #[test]
    fn more_slices_than_a_call_takes() {
        let text: Vec<u8> = (0..200).collect();
        let bufs: Vec<&[u8]> = text.chunks(1).collect();
        let mut file = Vec::new();
        let result = write_all(0, &bufs, 1, |slices, _| {
            let before = file.len();
            slices.iter().for_each(|slice| file.extend_from_slice(slice));
            Ok(file.len() - before)
        });
        assert!(result.is_ok());
        assert_eq!(file, text);
    }

    #[test]
    fn reads_stop_at_the_end_alone() {
        let read = |script: &[usize]| {
            let mut steps = script.iter();
            let mut interrupted = true;
            let mut buf = [0; 16];
            let result = read_full(0, &mut buf, 4, |_, _| {
                interrupted = !interrupted;
                match interrupted {
                    true => Err(io::Error::from(ErrorKind::Interrupted)),
                    false => Ok(steps.next().copied().unwrap_or(0)),
                }
            });
            result.map_err(|error| error.kind())
        };
        assert_eq!(read(&[16]), Ok(16));
        assert_eq!(read(&[8, 4, 4]), Ok(16));
        assert_eq!(read(&[8, 2, 4]), Ok(10), "the end lies inside a granule");
        assert_eq!(read(&[]), Ok(0));
        assert_eq!(read(&[17]), Err(ErrorKind::Other));
    }

    #[test]
    fn the_contract_is_checked() {
        let four: &[u8] = &[0; 512];
        assert_eq!(check_write(1024, &[four, four], 512).unwrap(), 1024);
        for (offset, bufs) in [
            (1, vec![four]),
            (512, vec![four, &four[..100]]),
            (u64::MAX - 511, vec![four]),
            (1 << 63, vec![four]),
            ((1 << 63) - 512, vec![four]),
        ] {
            let error = check_write(offset, &bufs, 512).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{offset} {}", bufs.len());
        }
        assert!(check_read(512, 1024, 512).is_ok());
        assert!(check_read(512, 1000, 512).is_err());
        assert!(check_read(100, 512, 512).is_err());
        assert!(check_read(u64::MAX - 511, 512, 512).is_err());
    }
}
