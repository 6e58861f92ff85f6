package secure

import "github.com/flip-ha/flip/fsm"

// How many senders a Box remembers. Only who has the key can add to them. 4,096
// names are more members than a cluster has; 64 processes are more runs of one
// member than anybody's datagrams survive on a wire.
const (
	maxNames     = 4096
	maxProcesses = 64
)

// memory is which datagrams came, per sending process.
//
// To forget a process is to let its datagrams in once more, so a process is
// never just forgotten. Each carries when it was born, by its own clock, and of
// one name the 64 youngest are kept: a younger one pushes the oldest out, one
// that is not younger than any is refused. What was pushed out is younger than
// none that stayed, nor than any that comes in later: it never gets in again.
// Old datagrams played back therefore push nobody out, and what one member's
// processes do concerns no other member.
//
// The price: a machine whose clock falls back behind its last 64 starts is not
// heard, by receivers that heard all of those, until its clock is right and its
// daemon is started again.
type memory struct {
	names map[fsm.MemberID]*runs
}

// runs is what is remembered of one name.
type runs struct{ processes []*process }

// process is one sending process.
type process struct {
	sender Sender
	born   int64
	window window
}

// header is what a datagram says of its sender.
type header struct {
	name, instance []byte
	process        fsm.Nonce
	born           int64
	seq            uint64
}

// take reports who sent the datagram; false: it came before, or is of a process
// that is not remembered any more.
func (m *memory) take(h *header) (Sender, bool) {
	of := m.names[fsm.MemberID(h.name)] // no allocation: a lookup only
	if of == nil {
		if len(m.names) >= maxNames {
			return Sender{}, false
		}
		of = &runs{}
		m.names[fsm.MemberID(h.name)] = of
	}
	p := of.find(h)
	if p == nil {
		p = of.admit(h)
	}
	if p == nil || !p.window.take(h.seq) {
		return Sender{}, false
	}
	return p.sender, true
}

// find is the process of h, if it is remembered.
func (r *runs) find(h *header) *process {
	for i, p := range r.processes {
		if p.sender.Process == h.process && p.born == h.born && p.sender.Instance == string(h.instance) {
			// To the front: whoever sends now sends again.
			r.processes[0], r.processes[i] = r.processes[i], r.processes[0]
			return p
		}
	}
	return nil
}

// admit begins to remember the process of h, in place of the oldest if there is
// no room; nil: h's is itself older than all that are there.
func (r *runs) admit(h *header) *process {
	fresh := &process{
		sender: Sender{Name: fsm.MemberID(h.name), Instance: string(h.instance), Process: h.process},
		born:   h.born,
	}
	if len(r.processes) < maxProcesses {
		r.processes = append(r.processes, fresh)
		return fresh
	}
	oldest := 0
	for i, p := range r.processes {
		if p.older(r.processes[oldest]) {
			oldest = i
		}
	}
	if !r.processes[oldest].older(fresh) {
		return nil
	}
	r.processes[oldest] = fresh
	return fresh
}

// older is strict: of two born in the same moment neither pushes the other out,
// or they could take turns.
func (p *process) older(q *process) bool { return p.born < q.born }
