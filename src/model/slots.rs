//! Which maps share memory.

/// Places in memory, each as long as the longest map that ever lies there.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) lengths: Vec<usize>,
    free: Vec<usize>,
}

impl Slots {
    /// The free slot that fits best; a longer one rather than one that must grow.
    pub(super) fn take(&mut self, len: usize) -> usize {
        let lengths = &self.lengths;
        let fits = |slot: &usize| (lengths[*slot] < len, lengths[*slot].abs_diff(len));
        let best = self.free.iter().enumerate().min_by_key(|(_, slot)| fits(slot)).map(|(n, _)| n);
        let slot = best.map(|n| self.free.swap_remove(n)).unwrap_or_else(|| {
            self.lengths.push(0);
            self.lengths.len() - 1
        });
        self.lengths[slot] = self.lengths[slot].max(len);
        slot
    }

    pub(super) fn give_back(&mut self, slot: usize) {
        self.free.push(slot);
    }
}
