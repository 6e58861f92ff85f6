package raftnode

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/wake"
)

// Propose has c agreed upon, by way of the leader when that is another node. It
// waits for a leader a bounded time and then says ErrNoLeader. A command that
// may or may not have entered the log is not sent again: ErrUncertain.
func (n *Node) Propose(ctx context.Context, c fsm.Command) (fsm.Result, error) {
	return n.propose(ctx, fsm.Encode(c))
}

func (n *Node) propose(ctx context.Context, cmd []byte) (fsm.Result, error) {
	deadline := time.Now().Add(n.leaderWait())
	var last error
	for {
		moved := n.leaderMoved.Next()
		id, addr := n.leader()
		var res fsm.Result
		err := ErrNotLeader
		switch {
		case id == n.self:
			res, err = n.ProposeBytes(ctx, cmd)
		case id != "":
			res, err = n.forward(ctx, addr, cmd, moved)
		}
		if err == nil || !errors.Is(err, ErrNotLeader) {
			return res, err
		}
		if id != "" {
			last = err
		}
		left := time.Until(deadline)
		if left <= 0 {
			if last != nil {
				return fsm.Result{}, fmt.Errorf("%w: the last one tried: %w", ErrNoLeader, last)
			}
			return fsm.Result{}, ErrNoLeader
		}
		// A leader that has just died is still named for an election's length:
		// ask again at short intervals too.
		if !wake.Pause(ctx, min(left, 25*time.Millisecond), moved, n.over, nil) {
			return fsm.Result{}, fmt.Errorf("wait for a leader: %w", ctx.Err())
		}
		if n.isOver() {
			return fsm.Result{}, fmt.Errorf("%w: this node has stopped", ErrNoLeader)
		}
	}
}

// forwardWait bounds the wait for another node's answer: twice what a leader may
// take for a commit before it gives up.
const forwardWait = 5 * time.Second

// forward hands a command to the leader. One that is no longer the leader may
// never answer, and its answer is worth no more than a moment's wait: a
// registration that hangs on a dead link for seconds is a member called down.
func (n *Node) forward(ctx context.Context, to raft.ServerAddress, cmd []byte, moved <-chan struct{}) (fsm.Result, error) {
	var watch sync.WaitGroup
	defer watch.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch.Go(func() {
		if wake.Pause(ctx, forwardWait, moved, nil, nil) && wake.Pause(ctx, n.timing().RaftElection, nil, nil, nil) {
			cancel()
		}
	})
	res, err := n.deps.Peers.Propose(ctx, to, cmd)
	if err != nil && ctx.Err() != nil && !errors.Is(err, ErrNotLeader) {
		err = fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	return res, err
}

func (n *Node) isOver() bool {
	select {
	case <-n.over:
		return true
	default:
		return false
	}
}

func (n *Node) leaderWait() time.Duration {
	if n.cfg.LeaderWait > 0 {
		return n.cfg.LeaderWait
	}
	return max(time.Second, 6*n.timing().RaftElection)
}

// ProposeBytes proposes an encoded command here, as the leader. It is what
// Peers.Propose of another node reaches. Bytes that do not decode are refused:
// in the log they would stop every replica.
func (n *Node) ProposeBytes(ctx context.Context, cmd []byte) (fsm.Result, error) {
	r := n.raft.Load()
	if r == nil || r.State() != raft.Leader {
		return fsm.Result{}, ErrNotLeader
	}
	small, err := inspect(cmd)
	if err != nil {
		return fsm.Result{}, err
	}
	if small {
		return n.batch.do(ctx, n.over, cmd)
	}
	return n.apply(ctx, cmd)
}

// inspect reports whether cmd may travel in a Batch with others.
func inspect(cmd []byte) (small bool, err error) {
	c, err := fsm.Decode(cmd)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrBadCommand, err)
	}
	switch c := c.(type) {
	case fsm.Register, fsm.Settle, fsm.Report, fsm.KeyAck:
		return len(cmd) <= maxSmall, nil
	case *fsm.Register, *fsm.Settle, *fsm.Report, *fsm.KeyAck:
		return len(cmd) <= maxSmall, nil
	case fsm.Batch:
		return false, inspectBatch(c)
	case *fsm.Batch:
		return false, inspectBatch(*c)
	default:
		return false, nil
	}
}

func inspectBatch(b fsm.Batch) error {
	for i, cmd := range b.Commands {
		if len(cmd) > 0 && cmd[0] == fsm.TypeBatch {
			return fmt.Errorf("%w: command %d of the batch is a batch", ErrBadCommand, i)
		}
		if _, err := fsm.Decode(cmd); err != nil {
			return fmt.Errorf("%w: command %d of the batch: %w", ErrBadCommand, i, err)
		}
	}
	return nil
}

// apply puts one command into the log and waits for its result.
func (n *Node) apply(ctx context.Context, cmd []byte) (fsm.Result, error) {
	r := n.raft.Load()
	if r == nil {
		return fsm.Result{}, ErrNotLeader
	}
	res, err := await(ctx, n, func() (fsm.Result, error) {
		f := r.Apply(cmd, enqueueWait)
		if err := f.Error(); err != nil {
			return fsm.Result{}, err
		}
		switch v := f.Response().(type) {
		case fsm.Result:
			return v, nil
		case error:
			return fsm.Result{}, v
		default:
			return fsm.Result{}, fmt.Errorf("the log answered with a %T", v)
		}
	})
	if err != nil {
		return res, explain(err)
	}
	n.committed()
	wake.Signal(n.nudges)
	return res, nil
}

// enqueueWait is how long a command waits for Raft's main loop to take it.
const enqueueWait = 2 * time.Second

// explain sorts Raft's errors: what was surely not proposed, and what may be.
func explain(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader),
		errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	case errors.Is(err, raft.ErrLeadershipLost),
		errors.Is(err, raft.ErrRaftShutdown),
		errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	default:
		return err
	}
}

// Bounds of one batch: enough for a cluster's worth of reports, small enough
// that one entry never holds the log up.
const (
	maxSmall      = 64 << 10
	maxBatchBytes = 512 << 10
	maxBatchCount = 256
)

// batcher puts small commands that come while another one is on its way into
// one entry: a restart of all would else cost each member a commit of its own.
type batcher struct {
	mu    sync.Mutex
	queue []*request
	more  chan struct{} // capacity 1
}

type request struct {
	cmd  []byte
	done chan outcome // capacity 1
}

type outcome struct {
	res fsm.Result
	err error
}

func (b *batcher) init() { b.more = make(chan struct{}, 1) }

// do queues cmd and waits for its result.
func (b *batcher) do(ctx context.Context, over <-chan struct{}, cmd []byte) (fsm.Result, error) {
	r := &request{cmd: cmd, done: make(chan outcome, 1)}
	b.mu.Lock()
	b.queue = append(b.queue, r)
	b.mu.Unlock()
	wake.Signal(b.more)
	select {
	case o := <-r.done:
		return o.res, o.err
	case <-ctx.Done():
		return fsm.Result{}, explain(ctx.Err())
	case <-over:
		return fsm.Result{}, explain(raft.ErrRaftShutdown)
	}
}

// take cuts the next batch off the queue.
func (b *batcher) take() []*request {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, size := 0, 0
	for n < len(b.queue) && n < maxBatchCount && (n == 0 || size+len(b.queue[n].cmd) <= maxBatchBytes) {
		size += len(b.queue[n].cmd)
		n++
	}
	out := b.queue[:n:n]
	b.queue = b.queue[n:]
	return out
}

// run applies batch after batch until ctx ends.
func (b *batcher) run(ctx context.Context, apply func(context.Context, []byte) (fsm.Result, error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.more:
		}
		for ctx.Err() == nil {
			reqs := b.take()
			if len(reqs) == 0 {
				break
			}
			b.answer(reqs, apply, ctx)
		}
	}
}

func (b *batcher) answer(reqs []*request, apply func(context.Context, []byte) (fsm.Result, error), ctx context.Context) {
	if len(reqs) == 1 {
		res, err := apply(ctx, reqs[0].cmd)
		reqs[0].done <- outcome{res, err}
		return
	}
	batch := fsm.Batch{Commands: make([][]byte, len(reqs))}
	for i, r := range reqs {
		batch.Commands[i] = r.cmd
	}
	res, err := apply(ctx, fsm.Encode(batch))
	if err == nil && len(res.Each) != len(reqs) {
		err = fmt.Errorf("a batch of %d commands got %d results: %s", len(reqs), len(res.Each), res.Why)
	}
	for i, r := range reqs {
		o := outcome{err: err}
		if err == nil {
			o.res = res.Each[i]
		}
		r.done <- o
	}
}
