package server

import (
	"encoding/json"
	"sort"
	"sync"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// line is one event in the ring. It is put into JSON when the first watcher sends
// it, and once for all.
type line struct {
	api.Event
	after fsm.Index // the event and those with it lead from there to Index

	once sync.Once
	text []byte // without the closing brace and what follows More
}

// json is the line, with or without the word that more of its index follows.
func (l *line) append(to []byte, more bool) []byte {
	l.once.Do(func() { l.text = openJSON(l.Event) })
	return closeJSON(append(to, l.text...), more)
}

// openJSON is an event without its last brace.
func openJSON(e api.Event) []byte {
	b, err := json.Marshal(e)
	if err != nil { // an Event has nothing in it that JSON cannot say
		b, _ = json.Marshal(api.Event{Index: e.Index, Kind: e.Kind, Words: err.Error()})
	}
	return b[:len(b)-1]
}

func closeJSON(b []byte, more bool) []byte {
	if more {
		b = append(b, `,"more":true`...)
	}
	return append(b, '}', '\n')
}

// ring keeps the newest events, in batches: what a batch holds leads from one index
// to the next. A line has a number that only grows.
type ring struct {
	lines []*line
	head  uint64    // number of the oldest line kept; its place is head % len(lines)
	tail  uint64    // of the next line
	floor fsm.Index // all that came after it is here
}

func newRing(size int, at fsm.Index) *ring {
	return &ring{lines: make([]*line, size), head: 1, tail: 1, floor: at}
}

func (r *ring) get(n uint64) *line { return r.lines[n%uint64(len(r.lines))] }

// add takes a batch, which must fit.
func (r *ring) add(after fsm.Index, events []api.Event) {
	for _, e := range events {
		if r.tail-r.head == uint64(len(r.lines)) {
			r.floor = r.get(r.head).Index
			r.head++
		}
		r.lines[r.tail%uint64(len(r.lines))] = &line{Event: e, after: after}
		r.tail++
	}
}

// clear forgets all: what has happened up to an index was too much. Everybody is
// overtaken by that, also who had read all.
func (r *ring) clear(at fsm.Index) {
	clear(r.lines)
	r.tail++
	r.head, r.floor = r.tail, at
}

// find is the number of the first line that leads beyond an index. false: some that
// do are gone, or it lies between two States that were compared: what changed there
// and was changed back is in no line.
func (r *ring) find(index fsm.Index) (uint64, bool) {
	if index < r.floor {
		return 0, false
	}
	n := r.head + uint64(sort.Search(int(r.tail-r.head), func(i int) bool { return r.get(r.head+uint64(i)).Index > index }))
	return n, n == r.tail || r.get(n).after >= index
}
