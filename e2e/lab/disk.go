package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// diskSize is what a daemon's log and snapshots fit into.
const diskSize = 64 << 20

// disk is a file system in a file that is only one host's daemon's: it is
// mounted by the command that becomes the daemon, in the mount namespace that
// `ip netns exec` makes, and so is gone with the last process there.
type disk struct {
	loop *os.File // the device goes with the last that has it open, or mounted
	dir  string   // the same path in the host and outside; empty outside
}

// ErrNoDisk means that there can be no file system in a file here.
var ErrNoDisk = errors.New("no loop devices here")

// Mount gives the host's daemons a disk of their own from their next start on.
func (h *Host) Mount() error {
	dir := h.lab.path("disk-" + h.Name)
	image := dir + ".img"
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("mount point for %s: %w", h.Name, err)
	}
	file, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("disk of %s: %w", h.Name, err)
	}
	defer func() { _ = file.Close() }()
	if err := file.Truncate(diskSize); err != nil {
		return fmt.Errorf("disk of %s: %w", h.Name, err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: mkfs.ext4: %w: %s", ErrNoDisk, err, strings.TrimSpace(string(out)))
	}
	loop, err := attachLoop(file)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoDisk, err)
	}
	h.disk = &disk{loop, dir}
	return nil
}

// attachLoop makes the file a block device, until nobody has that open.
func attachLoop(file *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open the loop control: %w", err)
	}
	defer func() { _ = control.Close() }()
	// Somebody else may take the free one in between.
	for range 10 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, fmt.Errorf("open a loop device: %w", err)
		}
		cfg := &unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		if err = unix.IoctlLoopConfigure(int(loop.Fd()), cfg); err == nil {
			return loop, nil
		}
		_ = loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("attach %s: %w", file.Name(), err)
		}
	}
	return nil, fmt.Errorf("attach %s: others take every loop device", file.Name())
}

// command puts the mounting before a program.
func (d *disk) command(args []string) []string {
	const script = `mount -t ext4 "$1" "$2" && shift 2 && exec "$@"`
	return append([]string{"sh", "-c", script, "sh", d.loop.Name(), d.dir}, args...)
}

// Freezer keeps a host's disk from writing.
type Freezer struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

// Freeze stalls the disk of the host's daemon: whoever writes hangs. A process of
// its own thaws it, at the latest after the limit, also when this one has died.
// The command args must come to RunFreezer.
func (h *Host) Freeze(limit time.Duration, args, env []string) (*Freezer, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(append(os.Environ(), env...), freezeDir+"="+fmt.Sprintf("/proc/%d/root%s", h.daemon.Cmd.Process.Pid, h.disk.dir),
		freezeLimit+"="+limit.String())
	// It outlives the test, if need be: no death signal, and none of the terminal's.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("freeze the disk of %s: %w", h.Name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("freeze the disk of %s: %w", h.Name, err)
	}
	said := make([]byte, 256)
	n, err := out.Read(said)
	f := &Freezer{cmd, stdin}
	if text := strings.TrimSpace(string(said[:n])); err != nil || text != frozen {
		return nil, errors.Join(fmt.Errorf("freeze the disk of %s: %s", h.Name, text), err, f.Thaw())
	}
	return f, nil
}

// Thaw lets the disk write again. It is no error if it does already.
func (f *Freezer) Thaw() error {
	_ = f.stdin.Close()
	if err := f.cmd.Wait(); err != nil {
		return fmt.Errorf("thaw a disk: %w", err)
	}
	return nil
}

// What RunFreezer is told by its environment, and what it says.
const (
	freezeDir   = "FLIP_E2E_FREEZE"
	freezeLimit = "FLIP_E2E_FREEZE_LIMIT"
	frozen      = "frozen"
)

// RunFreezer freezes the file system that it is told of and says so. It thaws it
// when its standard input ends, and after the limit.
func RunFreezer() error {
	limit, err := time.ParseDuration(os.Getenv(freezeLimit))
	if err != nil {
		return fmt.Errorf("limit of the freeze: %w", err)
	}
	dir, err := os.Open(os.Getenv(freezeDir))
	if err != nil {
		return fmt.Errorf("directory to freeze: %w", err)
	}
	// Ours only: a mount point of a disk that Mount made.
	var of, above unix.Stat_t
	err = unix.Fstat(int(dir.Fd()), &of)
	err2 := unix.Stat(filepath.Dir(os.Getenv(freezeDir)), &above)
	if err := errors.Join(err, err2); err != nil {
		return fmt.Errorf("directory to freeze: %w", err)
	}
	if of.Dev == above.Dev || unix.Major(of.Dev) != loopMajor {
		return fmt.Errorf("%s is no disk of the lab", dir.Name())
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	if err := unix.IoctlSetInt(int(dir.Fd()), fiFreeze, 0); err != nil {
		return fmt.Errorf("freeze: %w", err)
	}
	// Nothing may fail from here on: who reads this may have gone.
	_, _ = fmt.Println(frozen)
	select {
	case <-ended:
	case <-time.After(limit):
	}
	if err := unix.IoctlSetInt(int(dir.Fd()), fiThaw, 0); err != nil {
		return fmt.Errorf("thaw: %w", err)
	}
	return nil
}

// Of linux/fs.h and linux/major.h.
const (
	fiFreeze  = 0xc0045877
	fiThaw    = 0xc0045878
	loopMajor = 7
)
