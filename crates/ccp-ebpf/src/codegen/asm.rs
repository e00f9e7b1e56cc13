//! Builds instruction sequences: labels, jumps, reachability.
//!
//! A jump reaches 32,767 slots; where a label ahead is further away than that, the jump goes through
//! *relays*, unconditional jumps that [`Asm::relay`] puts between two instructions of the program.
//!
//! What is rarely run stands *aside*, behind what is run always, and jumps back: nothing else jumps
//! backwards. So what is run always is short and in one piece, and its conditional jumps are not
//! taken, which is what a processor expects of those that it has not met for a while.
//!
//! The kernel refuses programs with instructions that nothing leads to. Here they are not even
//! emitted: after an unconditional jump or `exit` everything is dropped until a label is placed
//! that some jump goes to.

use super::insn::{Alu, Cmp, Helper, Insn, R, Size, Src, Wide};

/// A place to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A label is further away than a jump reaches: too much was emitted without a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooFar {
    /// Slot of the jump.
    pub(super) from: usize,
    /// Slot it should go to.
    pub(super) to: usize,
}

/// The age, in slots, at which an open jump is relayed. The rest of the 32,767 slots is for what is
/// emitted between two calls of [`Asm::relay`] and for the kernel: it puts three more instructions
/// around each division by a register.
const RELAY_AFTER: usize = 12_000;

/// Instructions that stand aside.
#[derive(Debug)]
struct Aside {
    from: Label,
    insns: Vec<Insn>,
    /// A conditional jump behind them, and where it goes.
    leave: Option<(Insn, Label)>,
    back: Label,
}

#[derive(Debug)]
pub(super) struct Asm {
    insns: Vec<Insn>,
    /// Per label the slots of the jumps that wait for it.
    waiting: Vec<Vec<usize>>,
    /// Per label where it is.
    places: Vec<Option<usize>>,
    asides: Vec<Aside>,
    /// No open jump stands before this slot.
    oldest: usize,
    reachable: bool,
    relay_after: usize,
}

impl Asm {
    pub(super) fn new() -> Self {
        Self::with_relays_after(RELAY_AFTER)
    }

    fn with_relays_after(relay_after: usize) -> Self {
        Self {
            insns: Vec::new(),
            waiting: Vec::new(),
            places: Vec::new(),
            asides: Vec::new(),
            oldest: 0,
            reachable: true,
            relay_after,
        }
    }

    /// The slot that the next instruction gets.
    pub(super) fn here(&self) -> usize {
        self.insns.len()
    }

    /// Whether anything leads here.
    pub(super) fn is_reachable(&self) -> bool {
        self.reachable
    }

    /// The instructions.
    pub(super) fn finish(self) -> Vec<Insn> {
        debug_assert!(
            self.waiting.iter().all(Vec::is_empty),
            "every label that is jumped to is placed"
        );
        self.insns
    }

    pub(super) fn label(&mut self) -> Label {
        self.waiting.push(Vec::new());
        self.places.push(None);
        Label(self.waiting.len() - 1)
    }

    /// Whether a jump goes to `label`, which is not placed yet.
    pub(super) fn is_awaited(&self, label: Label) -> bool {
        !self.waiting[label.0].is_empty()
    }

    /// Puts `label` here, also for jumps that come later.
    pub(super) fn place(&mut self, label: Label) -> Result<(), TooFar> {
        self.places[label.0] = self.reachable.then_some(self.here());
        self.gather(label)?;
        if self.reachable {
            self.places[label.0] = Some(self.here());
        }
        Ok(())
    }

    /// Lets the jumps that wait for `label` come here.
    fn gather(&mut self, label: Label) -> Result<(), TooFar> {
        let to = self.here();
        for from in std::mem::take(&mut self.waiting[label.0]) {
            self.land(from, to)?;
            self.reachable = true;
        }
        Ok(())
    }

    fn land(&mut self, from: usize, to: usize) -> Result<(), TooFar> {
        let off = i16::try_from(to - from - 1).map_err(|_| TooFar { from, to })?;
        self.insns[from] = self.insns[from].over(off);
        Ok(())
    }

    /// Keeps jumps that have been open for long within reach. To be called between instructions
    /// of the source program.
    pub(super) fn relay(&mut self) -> Result<(), TooFar> {
        let aside: usize = self.asides.iter().map(|aside| aside.insns.len() + 2).sum();
        if self.here() - self.oldest + aside < self.relay_after {
            return Ok(());
        }
        // Those of at least half the age go along, so that relays are few.
        let past = self.label();
        if self.reachable && !self.asides.is_empty() {
            self.jump(past);
            self.asides()?;
            self.place(past)?;
        } else {
            self.asides()?;
        }
        let old = self.here() - self.relay_after / 2;
        let labels: Vec<usize> = (0..self.waiting.len())
            .filter(|&l| self.waiting[l].iter().any(|&from| from < old))
            .collect();
        let past = self.label();
        let reachable = self.reachable;
        if !labels.is_empty() {
            self.jump(past);
        }
        for label in labels {
            self.gather(Label(label))?;
            self.jump(Label(label));
        }
        self.place(past)?;
        self.reachable = reachable;
        self.oldest = self
            .waiting
            .iter()
            .flatten()
            .copied()
            .min()
            .unwrap_or(self.insns.len());
        Ok(())
    }

    fn emit(&mut self, insn: Insn) {
        if self.reachable {
            self.insns.push(insn);
        }
    }

    pub(super) fn alu(&mut self, op: Alu, dst: R, src: impl Into<Src>) {
        self.emit(Insn::alu(op, dst, src));
    }

    pub(super) fn alu32(&mut self, op: Alu, dst: R, src: impl Into<Src>) {
        self.emit(Insn::alu32(op, dst, src));
    }

    pub(super) fn mov(&mut self, dst: R, src: impl Into<Src>) {
        self.alu(Alu::Mov, dst, src);
    }

    pub(super) fn neg(&mut self, dst: R) {
        self.alu(Alu::Neg, dst, 0);
    }

    /// `dst = value`.
    pub(super) fn constant(&mut self, dst: R, value: u64) {
        if let Ok(imm) = i32::try_from(value.cast_signed()) {
            self.mov(dst, imm);
        } else {
            self.wide(dst, Wide::Number, value as u32, (value >> 32) as u32);
        }
    }

    /// `dst` = the map with this descriptor.
    pub(super) fn map(&mut self, dst: R, fd: i32) {
        self.wide(dst, Wide::Map, fd.cast_unsigned(), 0);
    }

    /// `dst` = the address `offset` bytes into the only value of this array map.
    pub(super) fn map_value(&mut self, dst: R, fd: i32, offset: u32) {
        self.wide(dst, Wide::MapValue, fd.cast_unsigned(), offset);
    }

    fn wide(&mut self, dst: R, what: Wide, low: u32, high: u32) {
        for half in Insn::wide(dst, what, low, high) {
            self.emit(half);
        }
    }

    pub(super) fn load(&mut self, size: Size, dst: R, base: R, off: i16) {
        self.emit(Insn::load(size, dst, base, off));
    }

    pub(super) fn store(&mut self, size: Size, base: R, off: i16, src: impl Into<Src>) {
        self.emit(Insn::store(size, base, off, src));
    }

    pub(super) fn atomic_add(&mut self, size: Size, base: R, off: i16, src: R) {
        self.emit(Insn::atomic_add(size, base, off, src));
    }

    pub(super) fn call(&mut self, helper: Helper) {
        self.emit(Insn::call(helper));
    }

    pub(super) fn jump(&mut self, to: Label) {
        self.open(to, Insn::jump());
        self.reachable = false;
    }

    pub(super) fn jump_if(&mut self, cmp: Cmp, dst: R, src: impl Into<Src>, to: Label) {
        self.open(to, Insn::jump_if(cmp, dst, src));
    }

    fn open(&mut self, to: Label, insn: Insn) {
        if !self.reachable {
            return;
        }
        let here = self.insns.len();
        match self.places[to.0].map(|at| i16::try_from(at as i64 - here as i64 - 1)) {
            Some(Ok(off)) => self.insns.push(insn.over(off)),
            // Out of reach: whoever waits for a label that is placed is told by `missed`.
            Some(Err(_)) | None => {
                self.waiting[to.0].push(here);
                self.insns.push(insn);
            }
        }
    }

    /// `dst` becomes `src` if `dst cmp src`, which is rarely so: a bound.
    pub(super) fn bound(
        &mut self,
        cmp: Cmp,
        dst: R,
        src: impl Into<Src> + Copy,
    ) -> Result<(), TooFar> {
        self.rarely(cmp, dst, src, vec![Insn::alu(Alu::Mov, dst, src)])
    }

    /// Runs `insns` aside if `dst cmp src`, which is rarely so.
    pub(super) fn rarely(
        &mut self,
        cmp: Cmp,
        dst: R,
        src: impl Into<Src>,
        insns: Vec<Insn>,
    ) -> Result<(), TooFar> {
        self.rarely_leaving(cmp, dst, src, insns, None)
    }

    /// The same, with a conditional jump behind `insns`.
    pub(super) fn rarely_leaving(
        &mut self,
        cmp: Cmp,
        dst: R,
        src: impl Into<Src>,
        insns: Vec<Insn>,
        leave: Option<(Insn, Label)>,
    ) -> Result<(), TooFar> {
        if !self.reachable {
            return Ok(());
        }
        let (from, back) = (self.label(), self.label());
        self.jump_if(cmp, dst, src, from);
        self.place(back)?;
        self.asides.push(Aside {
            from,
            insns,
            leave,
            back,
        });
        Ok(())
    }

    /// Puts here what stands aside. Nothing may lead here from before.
    pub(super) fn asides(&mut self) -> Result<(), TooFar> {
        for aside in std::mem::take(&mut self.asides) {
            self.place(aside.from)?;
            for insn in aside.insns {
                self.emit(insn);
            }
            if let Some((insn, to)) = aside.leave {
                self.open(to, insn);
            }
            self.jump(aside.back);
        }
        Ok(())
    }

    /// A jump back that its label was out of reach of.
    pub(super) fn missed(&self) -> Result<(), TooFar> {
        let placed = self.places.iter().zip(&self.waiting);
        let mut missed = placed.filter_map(|(at, jumps)| Some(((*at)?, *jumps.first()?)));
        missed
            .next()
            .map_or(Ok(()), |(to, from)| Err(TooFar { from, to }))
    }

    pub(super) fn exit(&mut self) {
        self.emit(Insn::exit());
        self.reachable = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows unconditional jumps from `at`.
    fn follow(insns: &[Insn], mut at: usize) -> usize {
        while insns[at].to_bits() & 0xff == 0x05 {
            let off = (insns[at].to_bits() >> 16) as u16 as i16;
            assert!(off >= 0, "only forward");
            at = at + 1 + off as usize;
        }
        at
    }

    fn target(insns: &[Insn], jump: usize) -> usize {
        let off = (insns[jump].to_bits() >> 16) as u16 as i16;
        follow(insns, jump + 1 + off as usize)
    }

    #[test]
    fn what_nothing_leads_to_is_not_emitted() {
        let mut a = Asm::new();
        let (unused, used) = (a.label(), a.label());
        a.mov(R::R0, 1);
        a.jump(used);
        a.mov(R::R0, 2);
        a.jump_if(Cmp::Eq, R::R0, 0, unused);
        a.place(unused).unwrap();
        a.exit();
        a.place(used).unwrap();
        a.exit();
        a.mov(R::R0, 3);
        assert_eq!(
            a.finish(),
            [Insn::alu(Alu::Mov, R::R0, 1), Insn::jump(), Insn::exit()]
        );
    }

    #[test]
    fn far_jumps_go_through_relays() {
        let mut a = Asm::with_relays_after(100);
        let (far, near) = (a.label(), a.label());
        let mut jumps = Vec::new();
        a.mov(R::R1, 0);
        for i in 0..1000 {
            if i % 50 == 0 {
                jumps.push(a.here());
                a.jump_if(Cmp::Eq, R::R1, i, far);
            }
            a.alu(Alu::Add, R::R1, i);
            a.relay().unwrap();
        }
        let end = a.here();
        a.jump(near);
        a.place(far).unwrap();
        let at_far = a.here();
        a.mov(R::R0, 1);
        a.place(near).unwrap();
        let at_near = a.here();
        a.exit();
        let insns = a.finish();
        for jump in jumps {
            let reach = (insns[jump].to_bits() >> 16) as u16;
            assert!(reach < 200, "{reach}");
            assert_eq!(target(&insns, jump), at_far);
        }
        assert_eq!(target(&insns, end), at_near);
        // The way straight on meets every addition, in order.
        let (mut at, mut sums) = (0, 0);
        while at < end {
            at = follow(&insns, at);
            if insns[at] == Insn::alu(Alu::Add, R::R1, sums) {
                sums += 1;
            }
            at += 1;
        }
        assert_eq!(sums, 1000);
    }

    #[test]
    fn a_relay_behind_a_jump_adds_no_way_in() {
        let mut a = Asm::with_relays_after(10);
        let (out, on) = (a.label(), a.label());
        for _ in 0..12 {
            a.jump_if(Cmp::Eq, R::R1, 0, out);
        }
        a.jump(on);
        a.relay().unwrap();
        assert!(!a.is_reachable());
        a.place(on).unwrap();
        a.place(out).unwrap();
        a.exit();
        let insns = a.finish();
        let end = insns.len() - 1;
        for jump in 0..13 {
            assert_eq!(target(&insns, jump), end);
        }
    }

    #[test]
    fn a_jump_out_of_reach_is_an_error() {
        let mut a = Asm::new();
        let far = a.label();
        a.jump_if(Cmp::Eq, R::R1, 0, far);
        for _ in 0..32_767 {
            a.mov(R::R0, 0);
        }
        let mut b = Asm::new();
        let far_b = b.label();
        b.jump_if(Cmp::Eq, R::R1, 0, far_b);
        for _ in 0..32_768 {
            b.mov(R::R0, 0);
        }
        a.place(far).unwrap();
        assert_eq!(
            b.place(far_b),
            Err(TooFar {
                from: 0,
                to: 32_769
            })
        );
    }

    #[test]
    fn constants_take_one_slot_where_they_can() {
        for (value, slots) in [
            (0, 1),
            (0x7fff_ffff, 1),
            (0x8000_0000, 2),
            (u64::MAX, 1),
            (1 << 32, 2),
        ] {
            let mut a = Asm::new();
            a.constant(R::R0, value);
            assert_eq!(a.finish().len(), slots, "{value:#x}");
        }
    }
}
