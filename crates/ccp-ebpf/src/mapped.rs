//! Maps that user space sees as memory.

use std::io;
use std::marker::PhantomData;
use std::mem::{align_of, size_of};
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A shared mapping of `len` bytes; unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Region {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread; access goes through raw pointers
// whose users synchronise (atomics).
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `len` bytes of `fd` from `offset` on.
    pub(crate) fn new(fd: impl AsFd, offset: u64, len: usize, writable: bool) -> io::Result<Self> {
        let prot = if writable {
            ProtFlags::READ | ProtFlags::WRITE
        } else {
            ProtFlags::READ
        };
        // SAFETY: a fresh mapping at an address of the kernel's choice; nobody else knows of it.
        let at = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                prot,
                MapFlags::SHARED,
                fd,
                offset,
            )?
        };
        let at = NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { at, len })
    }

    /// The address of the `size` bytes at `offset`, if they lie within.
    pub(crate) fn at(&self, offset: usize, size: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(size)?;
        // SAFETY: within the mapping.
        (end <= self.len).then(|| unsafe { self.at.add(offset) })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours; whoever holds an address into it borrows `self`.
        let _ = unsafe { munmap(self.at.as_ptr().cast(), self.len) };
    }
}

/// An array map (BPF_F_MMAPABLE) of `T`s.
#[derive(Debug)]
pub(crate) struct MappedArray<T> {
    region: Region,
    len: u32,
    of: PhantomData<T>,
}

// SAFETY: only plain data of the map is in there, reached through raw pointers.
unsafe impl<T> Send for MappedArray<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for MappedArray<T> {}

impl<T> MappedArray<T> {
    const OK: () = assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() <= 8);

    /// Maps all `len` elements of `fd`.
    pub(crate) fn new(fd: impl AsFd, len: u32, writable: bool) -> io::Result<Self> {
        let () = Self::OK;
        let bytes = (size_of::<T>() * len as usize).next_multiple_of(rustix::param::page_size());
        Ok(Self {
            region: Region::new(fd, 0, bytes, writable)?,
            len,
            of: PhantomData,
        })
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The address of element `index`. The kernel and other threads may change it at any time.
    pub(crate) fn at(&self, index: u32) -> Option<*mut T> {
        if index >= self.len {
            return None;
        }
        let offset = index as usize * size_of::<T>();
        Some(self.region.at(offset, size_of::<T>())?.as_ptr().cast())
    }

    /// A copy of element `index`; may be torn between fields that the kernel writes meanwhile.
    pub(crate) fn copy(&self, index: u32) -> Option<T>
    where
        T: Copy,
    {
        // SAFETY: within the mapping, aligned (elements are multiples of 8 bytes in a page-aligned
        // mapping), any bytes are a valid `T` (integers only).
        self.at(index).map(|p| unsafe { p.read_volatile() })
    }
}
