package main

import (
	"context"
	"os"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/fsm"
)

// waitingRoom is what others see of a node that waits to be added: its log, its
// status on the control socket, and what systemd is told.
type waitingRoom struct {
	d *daemon

	mu          sync.Mutex
	words, hint string
}

// say is called when it changes what this node waits for. Nothing of its own is to
// come up before others: systemd need not wait.
func (w *waitingRoom) say(words, hint string) {
	w.mu.Lock()
	w.words, w.hint = words, hint
	w.mu.Unlock()
	w.d.log.Info().Str("id", string(w.d.self.Name)).Str("hint", hint).Msg(words)
	w.d.tell(sd.SdNotifyReady, "STATUS="+words)
}

// open serves the control socket until the function it returns is called.
func (w *waitingRoom) open(ctx context.Context) (leave func(), err error) {
	l, err := server.ListenUnix(w.d.paths.socket)
	if err != nil {
		return nil, hinted{err, socketTakenDo}
	}
	ctx, cancel := context.WithCancel(ctx)
	s := server.NewLocal(server.LocalConfig{Log: w.d.log, Node: w, Status: w, Verifier: w, Version: thisVersion()})
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := s.Run(ctx, l); err != nil {
			w.d.log.Warn().Err(err).Msg("the control socket of a node that waits has failed")
		}
	})
	parts.Go(func() { w.breathe(ctx) })
	return func() {
		cancel()
		parts.Wait()
	}, nil
}

// breathe keeps systemd's watchdog quiet: there is no main loop yet.
func (w *waitingRoom) breathe(ctx context.Context) {
	limit, err := watchdogLimit()
	if err != nil || limit == 0 {
		return
	}
	tick := time.NewTicker(limit / watchdogRounds)
	defer tick.Stop()
	for {
		w.d.tell(sd.SdNotifyWatchdog)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// View implements server.Node.
func (w *waitingRoom) View() (*fsm.State, fsm.Index) { return fsm.New(), 0 }

// Leader implements server.Node.
func (w *waitingRoom) Leader() (fsm.MemberID, string) { return "", "" }

// Verify implements server.Verifier: nothing can be asked of the cluster here.
func (w *waitingRoom) Verify(context.Context) error {
	return &api.Error{
		Code: api.CodeUnavailable, Message: "this node waits to be added to a cluster: it is no member yet",
		Hint: "run the command on a member",
	}
}

// Status implements server.StatusSource.
func (w *waitingRoom) Status() api.Status {
	w.mu.Lock()
	words, hint := w.words, w.hint
	w.mu.Unlock()
	if words == "" {
		words = "asking whether this node was added to a cluster"
	}
	d := w.d
	return api.Status{
		Stamp: api.Stamp{AgeMS: -1},
		Node: api.Node{
			ID: d.self.Name, Instance: d.self.Instance, Version: thisVersion().Version, Wire: wireVersions,
			PID: os.Getpid(), UptimeMS: time.Since(d.started).Milliseconds(), Phase: "joining: " + words,
			Waiting: []string{words}, DataDir: d.paths.data, File: d.paths.file,
		},
		Cluster: api.Cluster{Quorum: api.Quorum{Words: "not known yet"}},
		Members: []api.Member{}, Systems: []api.System{},
		Alarms: []api.Alarm{{Severity: api.Warning, What: words, Do: hint}},
	}
}
