package raftnode

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
)

func TestProposeForwards(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		for name, n := range nodes {
			res, err := n.Propose(t.Context(), fsm.Probe{})
			if err != nil || !res.Applied {
				t.Errorf("%s: %+v, %v", name, res, err)
			}
			if n != w.leader() {
				if _, err := n.ProposeBytes(t.Context(), fsm.Encode(fsm.Probe{})); !errors.Is(err, ErrNotLeader) {
					t.Errorf("%s: ProposeBytes of a follower: %v", name, err)
				}
			}
		}
		if w.sent < 2 {
			t.Errorf("%d proposals went over the wire", w.sent)
		}
	})
}

func TestProposeWaitsForALeader(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		old := w.leader()
		var asker *testNode
		for _, n := range nodes {
			if n != old {
				asker = n
			}
		}
		if err := w.halt(old); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := asker.Propose(t.Context(), fsm.Probe{}); err != nil {
			t.Errorf("across an election: %v", err)
		}
		t.Logf("it took %v", time.Since(began))
	})
}

func TestProposeWithoutLeader(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		n := w.start("n1", specOf("n1", "n2", "n3"), newDisk())
		began := time.Now()
		if _, err := n.Propose(t.Context(), fsm.Probe{}); !errors.Is(err, ErrNoLeader) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(began); took < time.Second || took > 2*time.Second {
			t.Errorf("it waited %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := n.Propose(ctx, fsm.Probe{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

func TestProposeBeforeRunAndAfter(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		n := w.start("n1", specOf("n1", "n2", "n3"), newDisk())
		if err := w.halt(n); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Propose(t.Context(), fsm.Probe{}); !errors.Is(err, ErrNoLeader) {
			t.Errorf("after the end: %v", err)
		}
		if err := n.StepDown(t.Context()); err != nil {
			t.Errorf("step down after the end: %v", err)
		}
		n.Phase()
		n.Hello(Hello{Name: "n2"})
	})
}

func TestUncertainWhenLeadershipIsLost(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.three()
		leader := w.leader()
		w.cut(leader, true)
		if _, err := leader.ProposeBytes(t.Context(), fsm.Encode(fsm.Probe{})); !errors.Is(err, ErrUncertain) {
			t.Errorf("error %v", err)
		}
	})
}

func TestStepDown(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.three()
		old := w.leader()
		began := time.Now()
		if err := old.StepDown(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.until(time.Second, "another one leads", func() bool { l := w.leader(); return l != nil && l != old })
		if took := time.Since(began); took > 50*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

func TestStepDownIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.three()
		old := w.leader()
		// The others do not answer, and Raft does not know yet.
		w.cut(old, true)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := old.StepDown(ctx); err == nil {
			t.Error("no error")
		}
		if took := time.Since(began); took > 20*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

func TestBatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b batcher
		b.init()
		gate := make(chan struct{})
		var mu sync.Mutex
		var sizes []int
		apply := func(_ context.Context, cmd []byte) (fsm.Result, error) {
			<-gate
			mu.Lock()
			defer mu.Unlock()
			c, err := fsm.Decode(cmd)
			if err != nil {
				return fsm.Result{}, err
			}
			batch, ok := c.(fsm.Batch)
			if !ok {
				sizes = append(sizes, 1)
				return fsm.Result{Applied: true, Epoch: c.(fsm.Settle).Epoch}, nil
			}
			sizes = append(sizes, len(batch.Commands))
			res := fsm.Result{Applied: true}
			for _, one := range batch.Commands {
				c, err := fsm.Decode(one)
				if err != nil {
					return fsm.Result{}, err
				}
				res.Each = append(res.Each, fsm.Result{Applied: true, Epoch: c.(fsm.Settle).Epoch})
			}
			return res, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			b.run(ctx, apply)
		}()
		var wg sync.WaitGroup
		ask := func(e fsm.Epoch) {
			wg.Go(func() {
				res, err := b.do(t.Context(), nil, fsm.Encode(fsm.Settle{Member: "m", Epoch: e}))
				if err != nil || res.Epoch != e {
					t.Errorf("%d: %+v, %v", e, res, err)
				}
			})
		}
		ask(1)
		synctest.Wait()
		for e := range fsm.Epoch(300) {
			ask(e + 2)
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		mu.Lock()
		if len(sizes) != 3 || sizes[0] != 1 || sizes[1] != maxBatchCount || sizes[2] != 300-maxBatchCount {
			t.Errorf("sizes %v", sizes)
		}
		mu.Unlock()
		cancel()
		<-ended
	})
}

func TestBatcherTellsAllOfAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b batcher
		b.init()
		lost := errors.New("lost")
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, err := b.do(t.Context(), nil, fsm.Encode(fsm.Settle{})); !errors.Is(err, lost) {
					t.Errorf("error %v", err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			b.run(ctx, func(context.Context, []byte) (fsm.Result, error) { return fsm.Result{}, lost })
		}()
		wg.Wait()
		cancel()
		<-ended
	})
}

// Whatever shares an entry with it, each command gets its own answer.
func TestConcurrentCommandsAreAnsweredSingly(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.three()
		leader := w.leader()
		member, _ := leader.machine.view().state.Member("n1")
		var wg sync.WaitGroup
		for i := range 100 {
			epoch := member.Epoch
			if i%2 == 1 {
				epoch = fsm.Epoch(i + 100000) // nobody's
			}
			wg.Go(func() {
				res, err := leader.Propose(t.Context(), fsm.Settle{Member: "n1", Epoch: epoch})
				if err != nil || res.Applied != (epoch == member.Epoch) {
					t.Errorf("epoch %d: %+v, %v", epoch, res, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestExplain(t *testing.T) {
	tests := []struct {
		err  error
		want error
	}{
		{raft.ErrNotLeader, ErrNotLeader},
		{raft.ErrEnqueueTimeout, ErrNotLeader},
		{raft.ErrLeadershipTransferInProgress, ErrNotLeader},
		{raft.ErrLeadershipLost, ErrUncertain},
		{raft.ErrRaftShutdown, ErrUncertain},
		{context.DeadlineExceeded, ErrUncertain},
		{errPoisoned, errPoisoned},
	}
	for _, tt := range tests {
		if got := explain(tt.err); !errors.Is(got, tt.want) || !errors.Is(got, tt.err) {
			t.Errorf("%v: %v", tt.err, got)
		}
	}
}
