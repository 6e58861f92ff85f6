package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	syncCount = 150
	syncBytes = 4096 // a page of the log's file
	syncLimit = 2 * time.Second
)

// errHung is a disk that has not written a page in all the time there was.
var errHung = errors.New("the disk has not come back")

// DiskSync measures how long the file system of dir takes to have a page on disk,
// and judges it: what the cluster agrees on is agreed once a majority has
// it on disk, so a takeover waits for two such syncs at least.
func DiskSync(ctx context.Context, dir string, t Timing) Finding {
	const check = "disk sync"
	at := nearest(dir)
	took, err := measureSync(ctx, at, syncLimit, syncPages)
	switch {
	case errors.Is(err, errHung):
		return Finding{
			Check: check, On: dir, Verdict: Bad, Found: fmt.Sprintf("a write has not reached the disk within %s", brief(syncLimit)),
			Do: "look at the disk (dmesg, iostat -x 1): with a stalled disk this node can neither lead nor agree",
		}
	case errors.Is(err, fs.ErrPermission):
		return Finding{Check: check, On: dir, Verdict: Skip, Found: "only its owner can write there: run as root"}
	case err != nil:
		return Finding{Check: check, On: dir, Verdict: Bad, Found: err.Error(), Do: "flip keeps its log there: it must be able to write"}
	}
	f := judgeSync(spreadOf(took), t)
	f.On = dir
	if at != dir {
		f.Found += fmt.Sprintf(" (in %s: data_dir is not there yet)", at)
	}
	return f
}

// judgeSync takes a commit for two syncs: the log's file is synced once for its
// pages and once for its root.
func judgeSync(s spread, t Timing) Finding {
	f := Finding{
		Check: "disk sync", Verdict: OK,
		Found: fmt.Sprintf("p99 %s, median %s, worst %s of %d writes of 4 KiB; lease %s", brief(s.p99), brief(s.median), brief(s.max), s.n, brief(t.Lease)),
	}
	switch {
	case s.p99 > t.Lease/2:
		f.Verdict, f.Do = Bad, "put data_dir on a faster disk, or choose a longer timing: a takeover takes longer than the lease to be agreed on"
	case s.p99 > t.Lease/6:
		f.Verdict, f.Do = Warn, "put data_dir on a disk of its own or one with power-loss protection: each commit adds this to a takeover"
	}
	return f
}

// nearest is dir or, of what is above it, the first that is there.
func nearest(dir string) string {
	for ; dir != "/" && dir != "."; dir = path.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return dir
}

// syncing writes and syncs pages of a file until the given time, and tells how
// long each took.
type syncing func(ctx context.Context, file *os.File, took chan<- time.Duration, until time.Time) error

// measureSync writes pages, one after the other, into a file without a name.
// A sync that hangs keeps its goroutine until the disk lets it go.
func measureSync(ctx context.Context, dir string, limit time.Duration, pages syncing) ([]time.Duration, error) {
	file, err := os.CreateTemp(dir, ".flip-doctor-*")
	if err != nil {
		return nil, fmt.Errorf("write in %s: %w", dir, err)
	}
	if err := os.Remove(file.Name()); err != nil { // whatever happens, nothing is left behind
		return nil, errors.Join(fmt.Errorf("write in %s: %w", dir, err), file.Close())
	}
	results := make(chan time.Duration, syncCount)
	failed := make(chan error, 1)
	go func() {
		defer close(results)
		failed <- errors.Join(pages(ctx, file, results, time.Now().Add(limit)), file.Close())
	}()
	timer := time.NewTimer(limit + limit/2)
	defer timer.Stop()
	var took []time.Duration
	for {
		select {
		case d, more := <-results:
			if more {
				took = append(took, d)
				continue
			}
			if err := <-failed; err != nil {
				return nil, fmt.Errorf("write in %s: %w", dir, err)
			}
			return took, nil
		case <-timer.C:
			return nil, errHung
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// syncPages overwrites pages that are there already, as the log's file mostly
// does: a file that grows syncs more than data.
func syncPages(ctx context.Context, file *os.File, took chan<- time.Duration, until time.Time) error {
	const pages = 64
	page := make([]byte, syncBytes)
	for i := range pages {
		page[0] = byte(i)
		if _, err := file.WriteAt(page, int64(i*syncBytes)); err != nil {
			return err
		}
	}
	if err := file.Sync(); err != nil {
		return err
	}
	for i := range syncCount {
		if ctx.Err() != nil || time.Now().After(until) {
			break
		}
		page[0]++
		began := time.Now()
		if _, err := file.WriteAt(page, int64(i%pages*syncBytes)); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return os.NewSyscallError("fdatasync", err)
		}
		took <- time.Since(began)
	}
	return nil
}

// Mount is the file system that a path is on.
type Mount struct{ Point, Type, Options string }

// inMemory says whether a reboot empties it.
func (m Mount) inMemory() bool { return m.Type == "tmpfs" || m.Type == "ramfs" }

// mountOf finds the file system of a path among those of proc/self/mountinfo; of
// several at one point the last is on top.
func mountOf(root fs.FS, name string) (Mount, error) {
	data, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return Mount{}, fmt.Errorf("read mounts: %w", err)
	}
	var found Mount
	for line := range strings.Lines(string(data)) {
		head, tail, ok := strings.Cut(line, " - ")
		before, after := strings.Fields(head), strings.Fields(tail)
		if !ok || len(before) < 6 || len(after) < 3 {
			continue
		}
		point := unescape(before[4])
		if under(name, point) && len(point) >= len(found.Point) {
			found = Mount{Point: point, Type: after[0], Options: before[5] + "," + after[2]}
		}
	}
	if found.Point == "" {
		return Mount{}, fmt.Errorf("find the file system of %s: it is not among the mounts", name)
	}
	return found, nil
}

func under(name, point string) bool {
	return point == "/" || name == point || strings.HasPrefix(name, point+"/")
}

// unescape undoes what the kernel does to blanks in a mount point.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// DataFS judges the file system under data_dir.
func DataFS(root fs.FS, dir string) Finding {
	m, err := mountOf(root, dir)
	if err != nil {
		return skip("data_dir", err.Error())
	}
	f := Finding{Check: "data_dir", On: dir, Verdict: OK, Found: m.Type + " on " + m.Point}
	network := strings.HasPrefix(m.Type, "nfs") || m.Type == "cifs" || m.Type == "smb3" || strings.HasPrefix(m.Type, "fuse") || m.Type == "ceph" || m.Type == "glusterfs"
	switch {
	case m.inMemory():
		f.Verdict = Bad
		f.Found += ": a reboot forgets how this node voted and what was agreed"
		f.Do = "put data_dir on a disk: a voter with an emptied one votes for anyone, and what was agreed can be lost"
	case m.Type == "overlay":
		f.Verdict = Warn
		f.Found += ": a container's own layer goes with the container, and this node's votes with it"
		f.Do = "mount a volume of the host at data_dir"
	case network:
		f.Verdict = Warn
		f.Found += ": a failure of the network or its server stops this node's log"
		f.Do = "put data_dir on a local disk"
	case strings.Contains(","+m.Options+",", ",ro,"):
		f.Verdict, f.Do = Bad, "mount it read-write: flip keeps its log there"
		f.Found += ", read-only"
	case strings.Contains(m.Options, "nobarrier") || strings.Contains(m.Options, "barrier=0"):
		f.Verdict, f.Do = Warn, "mount it with barriers: without, a power cut can take back what was agreed"
		f.Found += ", without barriers"
	}
	return f
}

// SocketDir judges where the control socket and the list of what is held are:
// the list had better go with the boot, as what it lists does. One of another boot
// is told by the boot's number.
func SocketDir(root fs.FS, dir string) Finding {
	m, err := mountOf(root, dir)
	if err != nil {
		return skip("socket directory", err.Error())
	}
	f := Finding{Check: "socket directory", On: dir, Verdict: OK, Found: m.Type + " on " + m.Point}
	if !m.inMemory() {
		f.Verdict = Note
		f.Found += ": each change of what is held waits for this disk, and the list outlives a reboot (flip then passes it over); a tmpfs, as /run mostly is, is better"
	}
	return f
}
