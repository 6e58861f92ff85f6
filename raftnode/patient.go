package raftnode

import (
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
)

// patient keeps Raft from losing patience with a follower that is away. Raft
// answers each failed call of its replication with a longer pause, up to 10 s,
// and nothing ends that pause: a follower back after a minute would have its
// heartbeats answered at once and get its log, and so its lease, 10 s later. A
// leader whose only other voter that is would commit nothing until then.
//
// So a call of the replication that fails is not answered before the follower is
// heard again: Raft's heartbeats, which pause no longer than half of their
// timeout, go to the same follower through the same transport.
type patient struct {
	raft.Transport
	giveUp time.Duration // after the last heartbeat was tried: nobody leads here any more

	mu    sync.Mutex
	once  sync.Once
	over  chan struct{} // closed by release
	peers map[raft.ServerAddress]*follower
}

// follower is what is known of one address.
type follower struct {
	heard chan struct{} // closed and replaced when a heartbeat is answered
	tried time.Time     // when a heartbeat was last tried
}

// newPatient wraps the transport of a node.
func newPatient(t raft.Transport, giveUp time.Duration) *patient {
	return &patient{Transport: t, giveUp: giveUp, over: make(chan struct{}), peers: map[raft.ServerAddress]*follower{}}
}

// AppendEntries implements raft.Transport.
func (p *patient) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if isHeartbeat(req) {
		p.tried(to)
		err := p.Transport.AppendEntries(id, to, req, resp)
		p.tried(to)
		if err == nil {
			p.heard(to)
		}
		return err
	}
	heard := p.next(to)
	err := p.Transport.AppendEntries(id, to, req, resp)
	if err != nil {
		p.await(to, heard)
	}
	return err
}

// isHeartbeat tells Raft's heartbeats from its replication: they name nothing of
// the log.
func isHeartbeat(r *raft.AppendEntriesRequest) bool {
	return r.PrevLogEntry == 0 && r.PrevLogTerm == 0 && len(r.Entries) == 0 && r.LeaderCommitIndex == 0
}

// await waits until the follower is heard, nobody tries to any more, or the end.
func (p *patient) await(to raft.ServerAddress, heard <-chan struct{}) {
	for {
		p.mu.Lock()
		left := p.giveUp - time.Since(p.of(to).tried)
		p.mu.Unlock()
		if left <= 0 {
			return
		}
		timer := time.NewTimer(left)
		select {
		case <-heard:
			timer.Stop()
			return
		case <-p.over:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (p *patient) of(to raft.ServerAddress) *follower {
	f := p.peers[to]
	if f == nil {
		f = &follower{heard: make(chan struct{})}
		p.peers[to] = f
	}
	return f
}

func (p *patient) next(to raft.ServerAddress) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of(to).heard
}

func (p *patient) tried(to raft.ServerAddress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of(to).tried = time.Now()
}

func (p *patient) heard(to raft.ServerAddress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.of(to)
	close(f.heard)
	f.heard = make(chan struct{})
}

// InstallSnapshot implements raft.Transport.
func (p *patient) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	heard := p.next(to)
	err := p.Transport.InstallSnapshot(id, to, req, resp, data)
	if err != nil {
		p.await(to, heard)
	}
	return err
}

// release ends all waiting; Raft is about to stop.
func (p *patient) release() { p.once.Do(func() { close(p.over) }) }

// RequestPreVote implements raft.WithPreVote.
func (p *patient) RequestPreVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if pv, ok := p.Transport.(raft.WithPreVote); ok {
		return pv.RequestPreVote(id, to, req, resp)
	}
	return raft.ErrUnsupportedProtocol
}

// patience is how long after the last heartbeat tried nobody leads here any
// more: a call that is lost takes its timeout, see NewTransport.
func patience(t fsm.Timing) time.Duration { return 3 * max(time.Second, 10*t.RaftElection) }
