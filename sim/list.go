package sim

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

// list is the file in /run: what the machine may hold, whatever becomes of the
// processes on it. Each change is in it before it counts.
type list struct {
	instance string         // of the data directory whose daemon wrote it
	entries  []ledger.Entry // by ID
	last     uint64
	runs     uint64
}

// find is the entry of what a job is let go of by; nil: none.
func (l *list) find(j *fsm.Job) *ledger.Entry {
	for i := range l.entries {
		e := &l.entries[i].Job
		if e.Key == j.Key && e.Action == j.Action && e.Down == j.Down && bytes.Equal(e.Config, j.Config) && slices.Equal(e.Addrs, j.Addrs) {
			return &l.entries[i]
		}
	}
	return nil
}

// begin notes an effect before it is begun.
func (l *list) begin(m *Machine, kind actions.Kind, job fsm.Job) ledger.Entry {
	e := l.find(&job)
	if e == nil {
		l.last++
		l.entries = append(l.entries, ledger.Entry{ID: l.last, Job: job})
		e = &l.entries[len(l.entries)-1]
	}
	if kind == actions.Release { // it goes as it came
		token := max(e.Job.Token, job.Token)
		job = e.Job
		job.Token = token
	}
	l.runs++
	e.Job, e.Run = job, fmt.Sprintf("%s.%d", m.Name, l.runs)
	if e.Phase = ledger.Stopping; kind == actions.Acquire {
		e.Phase = ledger.Starting
	}
	return *e
}

// end notes how it ended: what went well is up, or off the list.
func (l *list) end(kind actions.Kind, job *fsm.Job, err error) (e ledger.Entry, there bool) {
	p := l.find(job)
	switch {
	case p == nil:
		return ledger.Entry{}, false
	case kind == actions.Release && err == nil:
		gone := *p
		l.drop(p.ID)
		return gone, false
	case err == nil:
		p.Phase, p.Run = ledger.Up, ""
	default:
		p.Phase, p.Run = ledger.Stopping, ""
	}
	return *p, true
}

func (l *list) drop(id uint64) {
	l.entries = slices.DeleteFunc(l.entries, func(e ledger.Entry) bool { return e.ID == id })
}

// adopted notes what is held on under a newer decision.
func (l *list) adopted(job *fsm.Job) (ledger.Entry, bool) {
	e := l.find(job)
	if e == nil {
		return ledger.Entry{}, false
	}
	e.Job = *job
	return *e, true
}

// most says whether anything at-most-one is listed.
func (l *list) most() bool {
	return slices.ContainsFunc(l.entries, func(e ledger.Entry) bool { return e.Job.AtMostOne })
}

// running are the effects that had begun, by the names that their hooks have.
func running(entries []ledger.Entry) []string {
	var ids []string
	for _, e := range entries {
		if e.Run != "" {
			ids = append(ids, e.Run)
		}
	}
	return ids
}
