//! Page-aligned buffers that are used again and again.
//!
//! Direct writes need the alignment. The reuse matters more than it looks: fresh memory has to be faulted in page by
//! page, which costs several times what copying into warm memory does.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Alignment that direct I/O asks of addresses, offsets and lengths. 4,096 satisfies every common device.
pub(crate) const ALIGNMENT_BYTES: usize = 4096;

/// A block of memory that begins at a multiple of [`ALIGNMENT_BYTES`].
pub(crate) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    capacity: usize,
}

impl AlignedBuffer {
    /// A zeroed buffer; `capacity` is rounded up to the alignment.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.next_multiple_of(ALIGNMENT_BYTES);
        let memory = vec![0; capacity + ALIGNMENT_BYTES];
        let start = memory.as_ptr().align_offset(ALIGNMENT_BYTES);
        Self { memory, start, capacity }
    }

    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.capacity]
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.capacity]
    }
}

/// A bounded set of buffers of one size. Buffers are made when first needed.
pub(crate) struct BufferPool {
    state: Mutex<PoolState>,
    returned: Condvar,
    buffer_bytes: usize,
}

struct PoolState {
    free: Vec<AlignedBuffer>,
    unmade: usize,
}

impl BufferPool {
    pub(crate) fn new(buffer_count: usize, buffer_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(PoolState { free: Vec::new(), unmade: buffer_count }),
            returned: Condvar::new(),
            buffer_bytes,
        })
    }

    /// Takes a buffer, waiting for one to come back if all are out. For blocking threads only.
    ///
    /// Whoever waits here holds no other buffer of the pool, or holds it only until a write ends, so the wait ends.
    pub(crate) fn take(self: &Arc<Self>) -> PooledBuffer {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(buffer) = state.free.pop() {
                return PooledBuffer { buffer: Some(buffer), filled: 0, pool: Arc::clone(self) };
            }
            if 0 < state.unmade {
                state.unmade -= 1;
                let buffer = AlignedBuffer::new(self.buffer_bytes);
                return PooledBuffer { buffer: Some(buffer), filled: 0, pool: Arc::clone(self) };
            }
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A buffer out of a pool, with a mark of how far it is filled. Goes back when dropped.
pub(crate) struct PooledBuffer {
    buffer: Option<AlignedBuffer>,
    filled: usize,
    pool: Arc<BufferPool>,
}

impl PooledBuffer {
    /// No buffer: holds the place of one that was handed on.
    pub(crate) fn none(pool: &Arc<BufferPool>) -> Self {
        Self { buffer: None, filled: 0, pool: Arc::clone(pool) }
    }

    /// The part that is not filled yet.
    pub(crate) fn unfilled(&mut self) -> &mut [u8] {
        let filled = self.filled;
        self.buffer.as_mut().map_or(&mut [], |buffer| &mut buffer.as_mut()[filled..])
    }

    /// Moves the mark forward.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.filled = (self.filled + bytes).min(self.pool.buffer_bytes);
    }

    /// Moves the mark back to the start.
    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    /// How far it is filled.
    pub(crate) const fn filled(&self) -> usize {
        self.filled
    }

    /// The filled part, followed by zeros up to the alignment.
    pub(crate) fn padded(&mut self) -> &[u8] {
        let filled = self.filled;
        let padded = filled.next_multiple_of(ALIGNMENT_BYTES);
        self.buffer.as_mut().map_or(&[], |buffer| {
            buffer.as_mut()[filled..padded].fill(0);
            &buffer.as_slice()[..padded]
        })
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer.as_slice()[..self.filled])
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.pool.state.lock().unwrap_or_else(PoisonError::into_inner).free.push(buffer);
            self.pool.returned.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_padded_and_reused() {
        let pool = BufferPool::new(1, 2 * ALIGNMENT_BYTES);
        let mut buffer = pool.take();
        let address = buffer.as_ref().as_ptr();
        assert_eq!(address.align_offset(ALIGNMENT_BYTES), 0);
        buffer.unfilled().fill(7);
        buffer.advance(10);
        assert_eq!(buffer.as_ref(), [7; 10]);
        let padded = buffer.padded();
        assert_eq!((padded.len(), padded[9], padded[10]), (ALIGNMENT_BYTES, 7, 0));
        drop(buffer);
        let again = pool.take();
        assert_eq!((again.filled(), again.as_ref().as_ptr()), (0, address));
    }

    #[test]
    fn an_empty_pool_makes_the_taker_wait() {
        let pool = BufferPool::new(1, ALIGNMENT_BYTES);
        let first = pool.take();
        let other = Arc::clone(&pool);
        let waiting = std::thread::spawn(move || other.take().filled());
        drop(first);
        assert_eq!(waiting.join().unwrap_or(1), 0);
    }
}
