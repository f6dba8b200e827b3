//! What a device asks of direct I/O, as far as the operating system tells.

use rustix::fs::{AtFlags, StatxFlags};
use std::fs::{self, File};

/// No device writes less.
const SECTOR: u32 = 512;

/// Where nothing is known: what every file system and device of today can do.
const COMMON: u32 = 4096;

/// What direct I/O to a file must keep to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// What a failed write may tear.
    pub(super) write_unit: u32,
    /// What offsets and lengths must be multiples of.
    pub(super) min_write_unit: u32,
    /// What buffers must start on.
    pub(super) alignment: u32,
}

/// What the system says of a file and its device; none means it does not say.
#[derive(Debug, Default)]
struct Told {
    /// Alignment of direct I/O in memory and in the file; (0, 0): there is no direct I/O.
    direct: Option<(u32, u32)>,
    logical: Option<u32>,
    physical: Option<u32>,
}

/// What writes to `file` must keep to, or none if it takes no direct I/O; `block` is the
/// directory's preferred size, the last resort.
pub(super) fn ask(file: &File, block: u32, notes: &mut Vec<String>) -> Option<Asked> {
    settle(&told(file), block, notes)
}

fn told(file: &File) -> Told {
    let flags = StatxFlags::BASIC_STATS | StatxFlags::DIOALIGN;
    // Old kernels and some sandboxes do not know the call.
    let Ok(stat) = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, flags) else {
        return Told::default();
    };
    let known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::DIOALIGN);
    let device = format!("/sys/dev/block/{}:{}", stat.stx_dev_major, stat.stx_dev_minor);
    Told {
        direct: known.then_some((stat.stx_dio_mem_align, stat.stx_dio_offset_align)),
        logical: block_size(&device, "logical_block_size"),
        physical: block_size(&device, "physical_block_size"),
    }
}

/// A block size of a device, from its queue, or of the disk it is a partition of.
fn block_size(device: &str, which: &str) -> Option<u32> {
    ["queue", "../queue"].iter().find_map(|queue| {
        fs::read_to_string(format!("{device}/{queue}/{which}")).ok()?.trim().parse().ok()
    })
}

fn settle(told: &Told, block: u32, notes: &mut Vec<String>) -> Option<Asked> {
    let resort = if block == 0 { COMMON } else { block.min(COMMON) };
    let (alignment, offset) = match told.direct {
        Some((0, _) | (_, 0)) => return None,
        Some((memory, offset)) => (memory, Some(offset)),
        None => (told.logical.unwrap_or(COMMON).min(COMMON), None),
    };
    let min = match (offset, told.logical) {
        (None, None) => {
            notes.push(format!("the alignment of direct I/O is not known; {resort} is assumed"));
            resort
        }
        (offset, logical) => offset.max(logical).unwrap_or(SECTOR),
    };
    let physical = told.physical.unwrap_or_else(|| {
        notes.push(format!("the device's physical block is not known; {resort} is assumed"));
        resort
    });
    let alignment = alignment.next_power_of_two();
    // A slice may start at any unit of an aligned buffer, so a unit keeps the alignment.
    let min_write_unit = min.max(SECTOR).max(alignment).next_power_of_two();
    let write_unit = min_write_unit.max(physical.next_power_of_two());
    Some(Asked { write_unit, min_write_unit, alignment })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_kept_to() {
        let row = |direct, logical, physical, block, unit, min, alignment, notes: usize| {
            let mut said = Vec::new();
            let told = Told { direct, logical, physical };
            let asked = settle(&told, block, &mut said).unwrap();
            let want = Asked { write_unit: unit, min_write_unit: min, alignment };
            assert_eq!((asked, said.len()), (want, notes), "{told:?} {said:?}");
        };
        // The common disk; one of 512 throughout; one of 4096 throughout.
        row(Some((4, 512)), Some(512), Some(4096), 4096, 4096, 512, 4, 0);
        row(Some((512, 512)), Some(512), Some(512), 4096, 512, 512, 512, 0);
        row(Some((512, 4096)), Some(4096), Some(4096), 4096, 4096, 4096, 512, 0);
        // The file system asks more than the device, or the device more than the file system.
        row(Some((512, 16384)), Some(512), Some(4096), 4096, 16384, 16384, 512, 0);
        row(Some((512, 512)), Some(4096), Some(4096), 4096, 4096, 4096, 512, 0);
        row(Some((4096, 512)), Some(512), Some(512), 4096, 4096, 4096, 4096, 0);
        // Nothing but the device; nothing but the file system; nothing at all.
        row(None, Some(512), Some(4096), 4096, 4096, 512, 512, 0);
        row(Some((512, 512)), None, None, 4096, 4096, 512, 512, 1);
        row(None, None, None, 4096, 4096, 4096, 4096, 2);
        row(None, None, None, 0, 4096, 4096, 4096, 2);
        row(None, None, None, 1 << 20, 4096, 4096, 4096, 2);
        // Less than a sector is no unit.
        row(Some((1, 1)), Some(1), Some(1), 4096, 512, 512, 1, 0);
    }

    #[test]
    fn no_alignment_means_no_direct_io() {
        let told = Told { direct: Some((0, 0)), ..Told::default() };
        assert_eq!(settle(&told, 4096, &mut Vec::new()), None);
    }
}
