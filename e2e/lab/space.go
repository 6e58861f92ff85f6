package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ErrUnavailable means that there can be no lab here: no root, no namespaces,
// no iproute2.
var ErrUnavailable = errors.New("no network lab here")

// spaceDir is where iproute2 keeps named network namespaces.
const spaceDir = "/run/netns"

// Space is one named network namespace.
type Space struct {
	Name string
	fd   netns.NsHandle
	nl   *netlink.Handle
}

func newSpace(name string) (*Space, error) {
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: ip netns add: %w: %s", ErrUnavailable, err, strings.TrimSpace(string(out)))
	}
	fd, err := netns.GetFromName(name)
	if err != nil {
		deleteSpace(name)
		return nil, fmt.Errorf("open namespace %s: %w", name, err)
	}
	s := &Space{Name: name, fd: fd}
	if s.nl, err = netlink.NewHandleAt(fd, unix.NETLINK_ROUTE); err != nil {
		s.close()
		return nil, fmt.Errorf("netlink in %s: %w", name, err)
	}
	if err := s.IP("link set lo up"); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *Space) close() {
	if s.nl != nil {
		s.nl.Close()
	}
	_ = s.fd.Close()
	deleteSpace(s.Name)
}

func deleteSpace(name string) { _ = exec.Command("ip", "netns", "del", name).Run() }

// Do runs f on a thread inside the namespace and takes the thread back out. It
// must not end with f: it may be the parent of processes that are to die with
// it.
func (s *Space) Do(f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the thread's own namespace: %w", err)
	}
	defer func() { _ = home.Close() }()
	if err := netns.Set(s.fd); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter %s: %w", s.Name, err)
	}
	err = f()
	if back := netns.Set(home); back != nil {
		// The thread stays locked: nobody else gets to run in the wrong place.
		return errors.Join(err, fmt.Errorf("leave %s: %w", s.Name, back))
	}
	runtime.UnlockOSThread()
	return err
}

// Command is a command that will run inside the namespace, under the real-time
// policy round robin at priority (0: none). Its process is the program itself.
func (s *Space) Command(priority int, args ...string) *exec.Cmd {
	all := append([]string{"ip", "netns", "exec", s.Name}, args...)
	if priority > 0 {
		all = append([]string{"chrt", "-r", fmt.Sprint(priority)}, all...)
	}
	return exec.Command(all[0], all[1:]...)
}

// IP runs lines of `ip` in the namespace as one batch.
func (s *Space) IP(lines ...string) error { return s.batch("ip", lines) }

func (s *Space) batch(tool string, lines []string) error {
	cmd := exec.Command(tool, "-n", s.Name, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s in %s: %w: %s", tool, s.Name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Sysctl sets net/KEY, as the namespace has it.
func (s *Space) Sysctl(key, value string) error {
	return s.Do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys/net", key), []byte(value), 0o644)
	})
}

// PIDs are the processes inside the namespace.
func (s *Space) PIDs() ([]int, error) { return pidsIn(s.Name) }

func pidsIn(name string) ([]int, error) {
	out, err := exec.Command("ip", "netns", "pids", name).Output()
	if err != nil {
		return nil, fmt.Errorf("processes in %s: %w", name, err)
	}
	var pids []int
	for _, f := range strings.Fields(string(out)) {
		var pid int
		if _, err := fmt.Sscan(f, &pid); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
