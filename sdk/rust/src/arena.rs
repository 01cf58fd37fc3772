//! Where a guest's first allocations come from.
//!
//! A fresh instance has little memory, and the first allocation of an ordinary allocator makes it grow. The host pays for that with calls of
//! its operating system that hold up all of its threads. So what a call needs comes from a room that is part of the instance; only
//! what does not fit there goes to the standard library's allocator.
//!
//! Owns: the room and its free lists. Blocks are of sizes that are powers of two; a block that is given back is the next of its
//! size. Installed for WebAssembly only; everywhere else it is only tested.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;

/// The smallest block, and the alignment of all of them, in bytes.
const SMALLEST: usize = 16;
/// How many sizes there are: 16 bytes, 32 bytes and so on.
const SIZES: usize = 13;

/// `ROOM` bytes, at most 1 MiB, before `after` is asked. For one thread.
pub(crate) struct Arena<After, const ROOM: usize> {
    room: UnsafeCell<Room<ROOM>>,
    state: UnsafeCell<State>,
    after: After,
}

#[repr(C, align(16))]
struct Room<const ROOM: usize>([u8; ROOM]);

struct State {
    /// Bytes of the room that have been given out so far.
    used: usize,
    /// For each size the block that was given back last; its first bytes name the one before.
    free: [*mut u8; SIZES],
}

// SAFETY: the arena is the allocator of guests that have one thread: the contract's host gives them none, and `lib` installs it
// only where the target has no atomics. Two calls are never under way at the same time.
unsafe impl<After: Sync, const ROOM: usize> Sync for Arena<After, ROOM> {}

impl<After, const ROOM: usize> Arena<After, ROOM> {
    pub(crate) const fn new(after: After) -> Self {
        Self {
            room: UnsafeCell::new(Room([0; ROOM])),
            state: UnsafeCell::new(State {
                used: 0,
                free: [null_mut(); SIZES],
            }),
            after,
        }
    }

    fn start(&self) -> *mut u8 {
        self.room.get().cast()
    }

    fn holds(&self, block: *mut u8) -> bool {
        let start = self.start() as usize;
        (start..start + ROOM).contains(&(block as usize))
    }
}

/// The number of the smallest size that holds so many bytes; none beyond the largest.
fn size_of(bytes: usize) -> Option<usize> {
    let size = bytes.max(SMALLEST).checked_next_power_of_two()?;
    let number = (size / SMALLEST).trailing_zeros() as usize;
    (number < SIZES).then_some(number)
}

// SAFETY: blocks do not overlap, since each is cut from the room's unused end, by the size of its class, and is on a free list
// only between a `dealloc` and the `alloc` that takes it off again. A block is at least as large as asked (`size_of` rounds up) and aligned
// to 16, to which the room is aligned and which every size is a multiple of; larger alignments go to `after`. A block belongs to the room
// by its address alone, so that each goes back to where it came from. The size of a block's class follows from the layout that
// the caller must give again; `realloc` keeps a block only while its class stays the same.
unsafe impl<After: GlobalAlloc, const ROOM: usize> GlobalAlloc for Arena<After, ROOM> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= SMALLEST
            && let Some(number) = size_of(layout.size())
        {
            // SAFETY: one thread, and nothing below calls back: this is the only reference.
            let state = unsafe { &mut *self.state.get() };
            let block = state.free[number];
            if !block.is_null() {
                // SAFETY: it is a free block of this room, whose first bytes `dealloc` has written.
                state.free[number] = unsafe { block.cast::<*mut u8>().read() };
                return block;
            }
            let size = SMALLEST << number;
            if size <= ROOM - state.used {
                // SAFETY: `used + size` is within the room.
                let block = unsafe { self.start().add(state.used) };
                state.used += size;
                return block;
            }
        }
        // SAFETY: the caller's promises are those that `after` asks for.
        unsafe { self.after.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match size_of(layout.size()) {
            Some(number) if self.holds(block) => {
                // SAFETY: as in `alloc`.
                let state = unsafe { &mut *self.state.get() };
                // SAFETY: the block is the caller's to give back, and has room for a pointer.
                unsafe { block.cast::<*mut u8>().write(state.free[number]) };
                state.free[number] = block;
            }
            // SAFETY: a block outside of the room came from `after`.
            _ => unsafe { self.after.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.holds(block) {
            // SAFETY: a block outside of the room came from `after`.
            return unsafe { self.after.realloc(block, layout, size) };
        }
        if size_of(layout.size()) == size_of(size) {
            return block;
        }
        // SAFETY: the caller promises a size that makes a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: `size` is not 0, as the caller promises.
        let moved = unsafe { self.alloc(wanted) };
        if !moved.is_null() {
            // SAFETY: both hold so many bytes, and are different blocks.
            unsafe { block.copy_to_nonoverlapping(moved, layout.size().min(size)) };
            // SAFETY: the block is the caller's to give back.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::System;

    /// A block with the byte that it is filled with.
    struct Held(*mut u8, Layout, u8);

    impl Held {
        fn check(&self, bytes: usize) {
            for n in 0..bytes {
                // SAFETY: the test holds so many bytes.
                assert_eq!(unsafe { self.0.add(n).read() }, self.2, "{:?}", self.1);
            }
        }

        fn fill(&mut self, with: u8) {
            self.2 = with;
            // SAFETY: the test holds so many bytes.
            unsafe { self.0.write_bytes(with, self.1.size()) };
        }
    }

    /// Takes, changes and gives back blocks in an order that only the seed knows.
    fn shuffle<const ROOM: usize>(seed: u64, rounds: usize, largest: usize) -> usize {
        let arena = Box::new(Arena::<System, ROOM>::new(System));
        let mut held: Vec<Held> = Vec::new();
        let mut state = seed;
        let mut next = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % below
        };
        let mut inside = 0;
        for round in 0..rounds {
            let with = round as u8;
            match next(3) {
                0 => {
                    let layout = Layout::from_size_align(1 + next(largest), 1 << next(7)).unwrap();
                    // SAFETY: the size is not 0.
                    let block = unsafe { arena.alloc(layout) };
                    assert_eq!(block as usize % layout.align(), 0);
                    inside += usize::from(arena.holds(block));
                    let mut block = Held(block, layout, 0);
                    block.fill(with);
                    held.push(block);
                }
                1 if !held.is_empty() => {
                    let n = next(held.len());
                    let block = held.swap_remove(n);
                    block.check(block.1.size());
                    // SAFETY: the block is from this arena, with this layout.
                    unsafe { arena.dealloc(block.0, block.1) };
                }
                2 if !held.is_empty() => {
                    let n = next(held.len());
                    let (size, block) = (1 + next(largest), &mut held[n]);
                    // SAFETY: the block is from this arena, with this layout, and the size is not 0.
                    block.0 = unsafe { arena.realloc(block.0, block.1, size) };
                    block.check(size.min(block.1.size()));
                    block.1 = Layout::from_size_align(size, block.1.align()).unwrap();
                    block.fill(with);
                }
                _ => {}
            }
        }
        for block in held {
            block.check(block.1.size());
            // SAFETY: as above.
            unsafe { arena.dealloc(block.0, block.1) };
        }
        inside
    }

    #[test]
    fn no_block_reaches_into_another() {
        for seed in 0..8 {
            assert!(shuffle::<4_096>(seed, 2_000, 300) > 0);
            assert!(shuffle::<65_536>(seed, 2_000, 9_000) > 0);
        }
    }

    #[test]
    fn what_is_given_back_is_used_again_and_what_does_not_fit_is_asked_for_elsewhere() {
        let arena = Box::new(Arena::<System, 1_024>::new(System));
        let of = |size| Layout::from_size_align(size, 8).unwrap();
        // SAFETY: each block is given back once, with its layout.
        unsafe {
            let first = arena.alloc(of(100));
            assert!(arena.holds(first));
            assert_eq!(arena.realloc(first, of(100), 128), first, "it has the room");
            arena.dealloc(first, of(128));
            assert_eq!(arena.alloc(of(65)), first);
            let large = arena.alloc(of(2_000));
            assert!(!large.is_null() && !arena.holds(large));
            arena.dealloc(large, of(2_000));
            for _ in 0..7 {
                assert!(arena.holds(arena.alloc(of(128))));
            }
            let beyond = arena.alloc(of(1));
            assert!(!arena.holds(beyond), "the room is used up");
            let moved = arena.realloc(beyond, of(1), 40);
            assert!(!arena.holds(moved));
            arena.dealloc(moved, of(40));
        }
        let wide = Layout::from_size_align(16, 64).unwrap();
        // SAFETY: as above.
        unsafe {
            let block = arena.alloc(wide);
            assert!(!arena.holds(block));
            arena.dealloc(block, wide);
        }
    }
}
