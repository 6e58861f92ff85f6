package guard_test

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/actions/guard"
)

// rolesHold makes the test binary a process with AF_PACKET sockets.
const rolesHold = "GUARD_TEST_SOCKETS"

// holdSockets opens some sockets, puts them into the Hold's end that it was given
// as descriptor 3, if any, and waits to be killed.
func holdSockets() error {
	count, err := strconv.Atoi(os.Getenv(rolesHold))
	if err != nil {
		return err
	}
	for range count {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if os.Getenv(rolesHold+"_HELD") != "" {
			if err := unix.Sendmsg(3, []byte{0}, unix.UnixRights(fd), nil, 0); err != nil {
				return err
			}
		}
	}
	_, err = os.Stdout.WriteString("ready\n")
	if err == nil {
		select {}
	}
	return err
}

// A process with many AF_PACKET sockets takes its time to die, unless another one
// has them too.
func TestHoldMakesADeathQuick(t *testing.T) {
	if fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0); err != nil {
		t.Skipf("no AF_PACKET sockets here: %v", err)
	} else if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	h, err := guard.NewHold()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	died := func(held string) time.Duration {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), rolesRole+"=sockets", rolesHold+"=8", rolesHold+"_HELD="+held)
		cmd.ExtraFiles = []*os.File{h.In()}
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		return time.Since(began)
	}
	alone, held := died(""), died("yes")
	t.Logf("a process with 8 sockets is dead %v after SIGKILL; %v if they are held", alone, held)
	if held*2 > alone {
		t.Errorf("held: %v, alone: %v", held, alone)
	}
}
