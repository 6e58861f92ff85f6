package secure

// windowBits is how far a datagram may lag behind the newest one of its sender
// and still be taken. A sender's sequence runs over all its receivers: with
// seven of them and a heartbeat each 50 ms, 1,024 are seven seconds of
// reordering.
const windowBits = 1024

// window remembers which of the last sequence numbers of one sender came.
type window struct {
	newest uint64
	seen   [windowBits / 64]uint64 // a ring; bit seq%windowBits stands for seq
}

// take marks seq and reports whether it is new. What is older than the window
// counts as seen: a late datagram is lost, never taken twice. Sequences begin
// at 1.
func (w *window) take(seq uint64) bool {
	if seq == 0 || seq < w.newest && w.newest-seq >= windowBits {
		return false
	}
	if seq > w.newest {
		w.advance(seq)
	}
	word, bit := w.place(seq)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// advance moves the window's end to seq and forgets what falls out of it.
func (w *window) advance(seq uint64) {
	if seq-w.newest >= windowBits {
		clear(w.seen[:])
		w.newest = seq
		return
	}
	for w.newest < seq {
		w.newest++
		word, bit := w.place(w.newest)
		*word &^= bit
	}
}

// place is where the ring keeps seq.
func (w *window) place(seq uint64) (*uint64, uint64) {
	at := seq % windowBits
	return &w.seen[at/64], uint64(1) << (at % 64)
}
