package raftnode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

const (
	lockFile = "lock" // in a data directory
	// lockAgain is the pause between two tries while a dead process's heir has the
	// lock: it lets go of addresses within milliseconds, hooks may take long.
	lockAgain = 10 * time.Millisecond
	// lockLog is how often the log tells of a long wait.
	lockLog = 10 * time.Second
)

// lockDir takes the directory's lock, which a process holds until its death and
// hands on to a child that may outlive it (Store.Lock). Then it waits: who starts
// before that child has released everything would take leftovers for its own.
func lockDir(ctx context.Context, dir string, log zerolog.Logger) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of data directory: %w", err)
	}
	var told time.Time
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			signLock(f)
			return f, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, errors.Join(fmt.Errorf("lock data directory %s: %w", dir, err), f.Close())
		}
		who := lockedBy(f)
		if who.pid == 0 || who.lives() {
			err = fmt.Errorf("data directory %s is in use by another flip%s: stop it, or give this node a data_dir of its own", dir, who)
			return nil, errors.Join(err, f.Close())
		}
		if time.Since(told) >= lockLog {
			told = time.Now()
			log.Info().Str("dir", dir).Int("pid", who.pid).
				Msg("the guard of the former process still releases what that held: waiting for it")
		}
		select {
		case <-ctx.Done():
			err = fmt.Errorf("wait for the lock of data directory %s: %w", dir, context.Cause(ctx))
			return nil, errors.Join(err, f.Close())
		case <-time.After(lockAgain):
		}
	}
}

// holder is the process that wrote itself into the lock's file.
type holder struct {
	pid   int    // 0: nobody knows
	start string // as /proc tells it: a number may come to name another process
}

// signLock writes this process into the lock's file. A disk that is full must
// not matter here: it is for those who find the lock taken only.
func signLock(f *os.File) {
	start, _ := processStart(os.Getpid())
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d %s\n", os.Getpid(), start), 0)
	}
}

func lockedBy(f *os.File) (h holder) {
	var buf [64]byte
	n, _ := f.ReadAt(buf[:], 0)
	words := strings.Fields(string(buf[:n]))
	if len(words) == 0 {
		return h
	}
	if pid, err := strconv.Atoi(words[0]); err == nil && pid > 0 {
		h.pid = pid
	}
	if len(words) > 1 {
		h.start = words[1]
	}
	return h
}

func (h holder) lives() bool {
	start, lives := processStart(h.pid)
	return lives && (start == h.start || h.start == "")
}

func (h holder) String() string {
	if h.pid == 0 {
		return ""
	}
	return fmt.Sprintf(" (process %d)", h.pid)
}

// processStart is when a process started, in ticks since the boot, and whether it
// has not ended. In /proc/PID/stat the name, which may hold anything, ends with
// the last bracket; the state is the first word after it, the start the 20th.
func processStart(pid int) (start string, lives bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false
	}
	words := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(words) < 20 {
		return "", false
	}
	return words[19], words[0] != "Z" && words[0] != "X"
}
