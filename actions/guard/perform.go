package guard

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

// threadsEvery is how often, in milliseconds, the threads of a killed daemon are
// looked at.
const threadsEvery = 5

// resume takes over the list and lets the core know what it was not told.
func (s *server) resume() {
	if s.list != nil || s.duties.Resume == nil {
		return
	}
	list, entries, err := s.duties.Resume()
	if err != nil {
		s.log.Error().Err(err).Msg("the list cannot be kept: the next daemon will find there what is released already")
		s.duties.Resume = nil
		return
	}
	s.list = list
	if s.listed {
		return
	}
	for _, e := range entries {
		if !s.core.Knows(e.ID) {
			s.core.Put(e)
		}
	}
}

// mourn tells the core of the end of the daemon and of all that it has forked, or
// that there is no more to wait for.
func (s *server) mourn() {
	if s.core == nil {
		return
	}
	if !s.childless && ended(fdLife) {
		s.childless = true
		s.core.PipeClosed(now())
	}
	if s.dead {
		return
	}
	if ended(s.daemon) {
		// Its last words may have come after the pipe was read.
		if err := s.drain(); err != nil {
			s.log.Error().Err(err).Msg("the daemon's last words cannot be read")
			s.eof = true
			s.core.HungUp(now())
		}
		s.dead = true
		s.core.Died(now())
		return
	}
	if t := now(); s.acting && t-s.looked >= threadsEvery*time.Millisecond {
		s.looked = t
		if hangs(s.hello.PID) {
			s.core.Stuck(t)
		}
	}
}

// ended reports whether a pidfd, or a pipe that nobody writes to, has ended.
func ended(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// do carries out one act.
func (s *server) do(a Act) {
	switch a.Kind {
	case Kill:
		err := unix.PidfdSendSignal(s.daemon, unix.SIGKILL, nil, 0)
		if errors.Is(err, unix.ESRCH) {
			err = nil
		}
		s.done(a, err)
	case Shut:
		if s.duties.Gate == nil || s.freed { // then it is the new daemon's
			s.done(a, nil)
			return
		}
		// A stranger's transaction may hold it up for as long as that takes.
		s.later(a, func(Act) error { return s.duties.Gate.Shut() })
	case Remove:
		s.remove(a)
	case EndRuns:
		s.later(a, s.endRuns)
	case Down:
		s.resume()
		s.later(a, s.down)
	case Goodbye:
		s.goodbye(a)
	case Unlock:
		s.strike()
		if s.duties.Gate != nil && !s.freed {
			s.freed = true
			if err := s.duties.Gate.Close(); err != nil {
				s.log.Warn().Err(err).Msg("the gate stays owned until this guard ends")
			}
		}
		s.done(a, s.flock(unix.LOCK_UN))
	case Look:
		err := s.flock(unix.LOCK_EX | unix.LOCK_NB)
		if err == nil {
			err = s.flock(unix.LOCK_UN)
		}
		s.done(a, err)
	case Lock:
		s.done(a, s.flock(unix.LOCK_EX|unix.LOCK_NB))
	case Exit:
	}
}

// done tells the core how an act ended.
func (s *server) done(a Act, err error) {
	if err != nil && !errors.Is(err, ErrTaken) {
		s.log.Error().Err(err).Stringer("act", a.Kind).Msg("guard: not done, to be tried again")
	}
	s.core.Done(now(), a, err)
}

// later does what takes its time beside all else.
func (s *server) later(a Act, do func(Act) error) {
	go func() {
		err := do(a)
		s.report(func() { s.done(a, err) })
	}()
}

// report has something done by the loop.
func (s *server) report(f func()) {
	s.mu.Lock()
	s.results = append(s.results, f)
	s.mu.Unlock()
	_, _ = unix.Write(s.event, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // EAGAIN: it is awake
}

// collect does what was reported.
func (s *server) collect() {
	s.mu.Lock()
	results := s.results
	s.results = nil
	s.mu.Unlock()
	for _, f := range results {
		f()
	}
}

func (s *server) endRuns(a Act) error {
	if s.duties.EndRuns == nil {
		return nil
	}
	runs := make([]string, 0, len(a.Entries))
	for i := range a.Entries {
		runs = append(runs, a.Entries[i].Run)
	}
	return s.duties.EndRuns(s.ctx, runs)
}

// down runs `down` under its deadline.
func (s *server) down(a Act) error {
	if s.duties.Hooks == nil {
		return errors.New("this guard runs no hooks")
	}
	job := a.Entries[0].Job
	job.Reason = s.core.Why()
	e := actions.Effect{Kind: actions.Release, Job: job}
	ctx := s.ctx
	if s.list != nil {
		run, err := s.list.Begin(e)
		if err != nil {
			s.log.Warn().Err(err).Msg("the list is not kept")
		}
		ctx = actions.WithRun(ctx, run)
	}
	limit := job.StopTimeout
	if limit <= 0 {
		limit = defaultStop
	}
	ctx, stop := context.WithTimeout(ctx, limit)
	defer stop()
	err := s.duties.Hooks.Release(ctx, job)
	if s.list != nil {
		s.list.End(e, err)
	}
	return err
}

// defaultStop is for entries that name no stop_timeout.
const defaultStop = 30 * time.Second

// remove takes addresses away, all at once.
func (s *server) remove(a Act) {
	if s.duties.Addresses == nil {
		s.done(a, errors.New("this guard removes no addresses"))
		return
	}
	var all []netip.Addr
	var first []int // where the addresses of each entry begin
	for i := range a.Entries {
		first = append(first, len(all))
		all = append(all, addrsOf(&a.Entries[i].Job)...)
	}
	first = append(first, len(all))
	errs := s.duties.Addresses.Remove(all)
	var gone []ledger.Entry
	for i := range a.Entries {
		if err := errors.Join(errs[first[i]:first[i+1]]...); err != nil {
			s.done(Act{Kind: Remove, Entries: a.Entries[i : i+1]}, err)
			continue
		}
		gone = append(gone, a.Entries[i])
		s.strikes = append(s.strikes, actions.Effect{Kind: actions.Release, Job: a.Entries[i].Job})
	}
	if len(gone) > 0 {
		s.done(Act{Kind: Remove, Entries: gone}, nil)
	}
}

// addrsOf reads an item's addresses; what is none was never plumbed.
func addrsOf(job *fsm.Job) []netip.Addr {
	addrs := make([]netip.Addr, 0, len(job.Addrs))
	for _, text := range job.Addrs {
		if p, err := netip.ParsePrefix(text); err == nil {
			addrs = append(addrs, p.Addr().Unmap())
		}
	}
	return addrs
}

// strike notes what is released, when there is nothing more urgent: what nothing
// can bring back leaves the gate too, which would cut this host off from the new
// holder, and then the list.
func (s *server) strike() {
	if len(s.strikes) == 0 || !s.childless || !s.dead {
		return
	}
	s.resume()
	var addrs []netip.Addr
	for i := range s.strikes {
		if s.strikes[i].Job.Gated {
			addrs = append(addrs, addrsOf(&s.strikes[i].Job)...)
		}
	}
	if len(addrs) > 0 && s.duties.Gate != nil && !s.freed {
		if err := s.duties.Gate.Remove(addrs); err != nil {
			s.log.Error().Err(err).Msg("addresses stay behind the shut gate until the next daemon builds it anew: this host does not reach their new holders")
		}
	}
	if s.list != nil {
		for i := range s.strikes {
			s.list.End(s.strikes[i], nil)
		}
	}
	s.strikes = nil
}

// goodbye tells the voters what is released.
func (s *server) goodbye(a Act) {
	if s.duties.Farewell == nil || s.voters == 0 {
		s.core.Acked(now(), len(a.Kept)) // nobody is to hear it
		return
	}
	err := s.duties.Farewell.Say(s.core.Epoch(), a.Kept)
	if err != nil {
		s.log.Debug().Err(err).Msg("goodbye not said to all")
	}
	if !s.listening {
		s.listening = true
		s.log.Info().Int("kept", len(a.Kept)).Msg("guard has said goodbye")
		go s.duties.Farewell.Listen(func(kept int) {
			s.report(func() { s.core.Acked(now(), kept) })
		})
	}
}

// flock works on the lock that was inherited. The daemon is dead when it is given
// up: its descriptors shared it.
func (s *server) flock(how int) error {
	if s.files.Lock == nil {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fdLock, &st); err == nil && st.Nlink == 0 {
		return fmt.Errorf("%w: it was deleted", ErrTaken)
	}
	err := unix.Flock(fdLock, how)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return ErrTaken
	case err != nil:
		return os.NewSyscallError("flock", err)
	}
	return nil
}
