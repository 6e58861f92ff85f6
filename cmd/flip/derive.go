package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/secure"
)

// deriveCommandName is what a daemon starts to derive a key.
const deriveCommandName = "derive"

// maxKey is far above any key, for who sends something else.
const maxKey = 4 << 10

func deriveCommand(a *App) *cli.Command {
	return &cli.Command{
		Name: deriveCommandName, Usage: "derive the root of the key on stdin; `flip run` starts it", Hidden: true,
		Action: func(*cli.Context) error {
			key, err := io.ReadAll(io.LimitReader(a.Stdin, maxKey))
			if err != nil {
				return fmt.Errorf("read the key: %w", err)
			}
			keys, err := secure.Derive(key)
			if err != nil {
				return err
			}
			_, err = a.Stdout.Write(keys.Root())
			return err
		},
	}
}

// deriveApart derives a key in a process of its own, with ordinary priority: four
// threads that compute for a tenth of a second at a daemon's real-time priority would
// keep heartbeats, and the kernel from its disk, waiting.
func deriveApart(ctx context.Context, key string) (*secure.Keys, error) {
	var out, problems bytes.Buffer
	cmd := exec.CommandContext(ctx, "/proc/self/exe", deriveCommandName)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader([]byte(key)), &out, &problems
	if err := startPlainly(cmd); err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("derive a key: %w: %s", err, bytes.TrimSpace(problems.Bytes()))
	}
	return secure.Revive(key, out.Bytes())
}

// startPlainly starts a command from a thread that has given up what priority it had,
// and ends with that.
func startPlainly(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		plain := unix.SchedAttr{Size: unix.SizeofSchedAttr, Nice: int32(plainNice())}
		if err := unix.SchedSetAttr(0, &plain, 0); err != nil && !errors.Is(err, unix.EPERM) {
			done <- fmt.Errorf("give up priority: %w", err)
			return
		}
		done <- cmd.Start()
	}()
	return <-done
}

// plainNice is this process's niceness, if it does not favour it.
func plainNice() int {
	now, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return 0
	}
	return max(int(now.Nice), 0)
}
