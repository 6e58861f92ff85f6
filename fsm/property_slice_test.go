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
		w.failures(o, id, got)
	}
	if got, want := fencingTexts(s), o.fencings(); !slices.Equal(got, want) {
		w.Fatalf("to be fenced:\n%s\nthe oracle says\n%s\nat\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), textOf(s))
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
