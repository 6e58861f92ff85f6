package liveness

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

// oracleEnd is the lease's end by counting: the latest moment up to which a
// majority of the list's voters have granted.
func oracleEnd(until map[fsm.VoterID]time.Duration, ids []fsm.VoterID) (time.Duration, bool) {
	var best time.Duration
	found := false
	for _, candidate := range until {
		n := 0
		for _, id := range ids {
			if end, ok := until[id]; ok && end >= candidate {
				n++
			}
		}
		if 2*n > len(ids) && (!found || candidate > best) {
			best, found = candidate, true
		}
	}
	return best, found
}

func TestLeaseEndIsTheMajoritysGrant(t *testing.T) {
	all := []fsm.VoterID{"a/1", "b/1", "c/1", "d/1", "e/1", "f/1", "g/1"}
	rapid.Check(t, func(t *rapid.T) {
		l := newLease(7, time.Hour)
		until := map[fsm.VoterID]time.Duration{}
		list := fsm.Voters{Index: 1, IDs: all[:rapid.IntRange(1, len(all)).Draw(t, "list")]}
		for range rapid.IntRange(0, 30).Draw(t, "grants") {
			by := rapid.SampledFrom(all).Draw(t, "by")
			sent := time.Duration(rapid.IntRange(0, 20).Draw(t, "sent"))
			ttl := time.Duration(rapid.IntRange(1, 20).Draw(t, "ttl"))
			l.grant(by, sent, ttl)
			until[by] = max(until[by], sent+ttl)
			if rapid.Bool().Draw(t, "relist") {
				list = fsm.Voters{Index: list.Index + 1, IDs: all[:rapid.IntRange(1, len(all)).Draw(t, "list")]}
			}
			got, ok := l.end(list)
			want, wantOK := oracleEnd(until, list.IDs)
			if ok != wantOK || (ok && got != want) {
				t.Fatalf("end by %v of %v: %d, %t; want %d, %t", list.IDs, until, got, ok, want, wantOK)
			}
		}
	})
}

// TestLeaseLife compares the lease with a record of every moment: it runs from
// when a majority first reaches beyond now, unless that is past the bound, and
// until that is no longer so; never again.
func TestLeaseLife(t *testing.T) {
	all := []fsm.VoterID{"a/1", "b/1", "c/1"}
	list := fsm.Voters{Index: 1, IDs: all}
	rapid.Check(t, func(t *rapid.T) {
		bound := time.Duration(rapid.IntRange(0, 40).Draw(t, "bound"))
		l := newLease(7, bound)
		until := map[fsm.VoterID]time.Duration{}
		began, over := false, false
		now := time.Duration(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			for range rapid.IntRange(0, 6).Draw(t, "pass") {
				now++
				end, ok := oracleEnd(until, all)
				runs := ok && end > now
				over = over || (began && !runs) || (!began && now > bound)
				began = began || (runs && !over)
			}
			l.advance(now, list, 0)
			by := rapid.SampledFrom(all).Draw(t, "by")
			sent := max(0, now-time.Duration(rapid.IntRange(0, 5).Draw(t, "ago")))
			ttl := time.Duration(rapid.IntRange(1, 8).Draw(t, "ttl"))
			l.grant(by, sent, ttl)
			until[by] = max(until[by], sent+ttl)
			l.advance(now, list, 0)
			end, ok := oracleEnd(until, all)
			runs := ok && end > now
			over = over || (began && !runs) || (!began && now > bound)
			began = began || (runs && !over)
			if l.running() != (began && !over) || l.live() == over {
				t.Fatalf("at %d: running %t, live %t; want began %t, over %t", now, l.running(), l.live(), began, over)
			}
		}
	})
}

func TestNthLargest(t *testing.T) {
	for _, tt := range []struct {
		ends []time.Duration
		n    int
		want time.Duration
		ok   bool
	}{
		{nil, 1, 0, false},
		{[]time.Duration{5}, 0, 0, false},
		{[]time.Duration{5}, 1, 5, true},
		{[]time.Duration{5}, 2, 0, false},
		{[]time.Duration{1, 9, 5}, 2, 5, true},
		{[]time.Duration{1, 9, 9}, 2, 9, true},
		{[]time.Duration{1, 2, 3, 4, 5}, 3, 3, true},
	} {
		got, ok := nthLargest(slices.Clone(tt.ends), tt.n)
		if got != tt.want || ok != tt.ok {
			t.Errorf("nthLargest(%v, %d) = %d, %t; want %d, %t", tt.ends, tt.n, got, ok, tt.want, tt.ok)
		}
	}
}

func TestSentTimes(t *testing.T) {
	var s sentTimes
	for i := range 5 * maxSent {
		s.add(time.Duration(i), math.MaxInt32)
	}
	if len(s.at) != maxSent {
		t.Errorf("%d times are kept, %d is the most", len(s.at), maxSent)
	}
	if !s.has(5*maxSent-1) || s.has(5*maxSent) || s.has(0) {
		t.Error("the newest must be known, one not sent and the oldest not")
	}
	s.add(10*maxSent, 100)
	if len(s.at) != 1 || !s.has(10*maxSent) {
		t.Errorf("times older than wanted are kept: %d", len(s.at))
	}
	s.add(10*maxSent, 100)
	if len(s.at) != 1 {
		t.Error("two heartbeats of one moment are one time")
	}
}

func TestBackoff(t *testing.T) {
	want := []time.Duration{1, 2, 4, 8, 16, 30, 30, 30}
	var b backoff
	for i, w := range want {
		b.failed(0)
		if b.until != w*time.Second {
			t.Errorf("wait %d is %s, want %s", i, b.until, w*time.Second)
		}
	}
}

func TestTrail(t *testing.T) {
	var tr trail
	if _, behind := tr.since(); behind {
		t.Error("nothing was acknowledged")
	}
	tr.acked(10, 5, 5)
	tr.acked(20, 7, 5)
	tr.acked(30, 6, 5) // older than what is known
	tr.acked(40, 9, 5)
	if at, behind := tr.since(); !behind || at != 20 {
		t.Errorf("behind since %d, %t; want 20", at, behind)
	}
	tr.read(7)
	if at, behind := tr.since(); !behind || at != 40 {
		t.Errorf("behind since %d, %t; want 40", at, behind)
	}
	tr.read(9)
	if _, behind := tr.since(); behind {
		t.Error("all is read")
	}
	for i := range 10 * maxMarks {
		tr.acked(time.Duration(i), fsm.Index(100+i), 9)
	}
	if at, _ := tr.since(); len(tr.unread) != maxMarks || at != 0 {
		t.Errorf("%d marks since %d; want %d and the oldest", len(tr.unread), at, maxMarks)
	}
}
