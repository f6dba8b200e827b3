//! The bytes of a file, shared between copies of a disk until one of them writes.

use std::sync::Arc;

const BLOCK: usize = 4096;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

type Block = Arc<[u8; BLOCK]>;

/// A file's bytes. What was never written is zeros and takes no room; a copy is one pointer, so
/// that thousands of crash states cost what they differ by.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    blocks: Arc<Vec<Option<Block>>>,
}

/// A place in a file as an index in memory.
pub(super) fn index(place: u64) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

impl Blocks {
    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        let blocks = Arc::make_mut(&mut self.blocks);
        let mut at = index(at);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (number, from) = (at / BLOCK, at % BLOCK);
            let (now, later) = rest.split_at((BLOCK - from).min(rest.len()));
            if blocks.len() <= number {
                blocks.resize(number + 1, None);
            }
            write_block(&mut blocks[number], from, now);
            at += now.len();
            rest = later;
        }
    }

    /// Fills `buf`; what lies behind the last block is zeros.
    pub(super) fn read(&self, at: u64, buf: &mut [u8]) {
        let mut at = index(at);
        let mut rest = buf;
        while !rest.is_empty() {
            let (number, from) = (at / BLOCK, at % BLOCK);
            let (now, later) = rest.split_at_mut((BLOCK - from).min(rest.len()));
            match self.blocks.get(number) {
                Some(Some(block)) => now.copy_from_slice(&block[from..from + now.len()]),
                _ => now.fill(0),
            }
            at += now.len();
            rest = later;
        }
    }

    /// Whether just these bytes stand at `at`. The range must not cross a block's end.
    pub(super) fn holds(&self, at: u64, bytes: &[u8]) -> bool {
        let (number, from) = (index(at) / BLOCK, index(at) % BLOCK);
        match self.blocks.get(number) {
            Some(Some(block)) => &block[from..from + bytes.len()] == bytes,
            _ => bytes.iter().all(|byte| *byte == 0),
        }
    }
}

fn write_block(place: &mut Option<Block>, from: usize, bytes: &[u8]) {
    let zeros = bytes == &ZEROS[..bytes.len()];
    match place {
        // Zero-filled segments are most of what a log writes first: they stay empty.
        None if zeros => {}
        Some(_) if zeros && bytes.len() == BLOCK => *place = None,
        _ => {
            let block = place.get_or_insert_with(|| Arc::new([0; BLOCK]));
            Arc::make_mut(block)[from..from + bytes.len()].copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    /// Against a plain vector.
    #[test]
    fn reads_give_what_was_written_last() {
        const SIZE: usize = 5 * BLOCK;
        let mut rng = Rng::new(3);
        let (mut blocks, mut plain) = (Blocks::default(), vec![0_u8; SIZE]);
        for step in 0..3000_u32 {
            let at = rng.index(SIZE / 512) * 512;
            let len = (rng.index(20) * 512).min(SIZE - at);
            let byte = if rng.chance(1, 3) { 0 } else { step.to_le_bytes()[0] };
            blocks.write(at as u64, &vec![byte; len]);
            plain[at..at + len].fill(byte);
            let copy = blocks.clone();
            let mut buf = vec![7; SIZE + 512];
            copy.read(0, &mut buf);
            assert_eq!(buf[..SIZE], plain[..], "step {step}");
            let sector = rng.index(SIZE / 512) * 512;
            assert!(blocks.holds(sector as u64, &plain[sector..sector + 512]));
            assert!(!blocks.holds(sector as u64, &[plain[sector].wrapping_add(1); 512]));
        }
    }

    #[test]
    fn a_copy_keeps_its_bytes_when_the_other_is_written() {
        let mut one = Blocks::default();
        one.write(0, &[1; BLOCK]);
        let two = one.clone();
        one.write(512, &[2; 512]);
        let mut buf = [0; 1024];
        two.read(0, &mut buf);
        assert_eq!(buf, [1; 1024]);
    }
}
