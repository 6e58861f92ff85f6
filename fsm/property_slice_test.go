package fsm

import (
	"slices"
	"strings"
)

// slices compares what each member is to wait for, and what failed there, with
// what the oracle says, and so who is to be fenced.
func (w *world) slices(o *oracle, s *State) {
	for id, m := range s.Members() {
		got := s.Slice(id, m.Epoch, m.Host.Machine, w.d.at)
		for _, job := range got.Want {
			w.wanted(o, s, id, job)
		}
		for _, owed := range got.Owe {
			recipe := o.entry(owed.Job.Key, owed.Entry).recipe
			if owed.Job.Maintained || owed.Job.Bet != o.betOn(owed.Job.Key, owed.AtMostOne, recipe) {
				w.Fatalf("%s owes %+v at\n%s", id, owed, textOf(s))
			}
		}
		w.copies(s, id, got)
		w.failures(o, id, got)
	}
	if got, want := fencingTexts(s), o.fencings(); !slices.Equal(got, want) {
		w.Fatalf("to be fenced:\n%s\nthe oracle says\n%s\nat\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), textOf(s))
	}
}

// copies looks at the ranks of an item that one member is to hold and to let go of: it
// keeps none beside a lower one that it owns.
func (w *world) copies(s *State, id MemberID, got Slice) {
	for _, own := range got.Want {
		for _, other := range got.Want {
			same := own.System == other.System && own.Item == other.Item && own.Rank != other.Rank
			if same && !own.Keep && (!other.Keep || other.Rank > own.Rank) {
				w.Fatalf("%s wants %v, and %v beside it (keep: %v), at\n%s", id, own.Key, other.Key, other.Keep, textOf(s))
			}
		}
	}
	for slot := range s.Slots() {
		owes := slices.ContainsFunc(got.Owe, func(o Owed) bool { return o.Job.Key == slot.Key && !o.AtMostOne })
		rank, owns := s.OwnsAny(id, slot.System, slot.Item)
		lower := owns && rank < slot.Rank
		if me, _ := s.Member(id); !me.Settled || slot.AtMostOne || slot.Owner == "" || slot.Owner == id || slot.Acquired != 0 {
			continue
		}
		mine := slices.ContainsFunc(slot.Outstanding, func(e Entry) bool {
			m, _ := s.Member(id)
			return e.Member == id && e.Host.Machine == m.Host.Machine && !e.AtMostOne
		})
		if mine && owes != lower {
			w.Fatalf("%s owes %v: %v, and owns a lower rank: %v, at\n%s", id, slot.Key, owes, lower, textOf(s))
		}
	}
}

func (w *world) wanted(o *oracle, s *State, id MemberID, job Job) {
	for _, b := range job.Blocked {
		if want := o.bet(job.Key, b.Entry); b.After != want {
			w.Fatalf("%s waits %v for %+v in %v, the oracle says %v, at\n%s", id, b.After, b.Entry, job.Key, want, textOf(s))
		}
	}
	if job.Keep {
		return
	}
	if job.Maintained != o.underMaintenance(job.System) || job.Bet != o.betOn(job.Key, job.AtMostOne, job.Action.String()) {
		w.Fatalf("%s wants %+v at\n%s", id, job, textOf(s))
	}
}

func (w *world) failures(o *oracle, id MemberID, got Slice) {
	failed := 0
	for fk, f := range o.failures {
		if strings.HasPrefix(fk, string(id)+" ") {
			failed++
			if !slices.ContainsFunc(got.Failed, func(j Job) bool {
				return j.Key == f.Key && j.Token == f.Token && j.Failed && j.Maintained == o.underMaintenance(j.System)
			}) {
				w.Fatalf("the slice of %s lacks the failure %+v", id, f)
			}
		}
	}
	if failed != len(got.Failed) {
		w.Fatalf("%d failures in the slice of %s, %d are remembered", len(got.Failed), id, failed)
	}
}
