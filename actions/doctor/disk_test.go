package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"
)

func TestJudgeSync(t *testing.T) {
	for _, tt := range []struct {
		p99  time.Duration
		t    Timing
		want Verdict
	}{
		{50 * time.Millisecond, lan, OK},
		{51 * time.Millisecond, lan, Warn},
		{150 * time.Millisecond, lan, Warn},
		{151 * time.Millisecond, lan, Bad},
		{9 * time.Millisecond, fast, Warn},
		{151 * time.Millisecond, wan, OK},
	} {
		is(t, judgeSync(spread{150, time.Millisecond, tt.p99, tt.p99}, tt.t), tt.want, "150 writes")
	}
}

func TestDiskSync(t *testing.T) {
	dir := t.TempDir()
	f := DiskSync(context.Background(), dir, Timing{Heartbeat: time.Minute, Lease: time.Hour})
	is(t, f, OK, "writes of 4 KiB; lease")
	if f.On != dir {
		t.Errorf("on %q", f.On)
	}
	f = DiskSync(context.Background(), filepath.Join(dir, "a", "b"), Timing{Heartbeat: time.Minute, Lease: time.Hour})
	is(t, f, OK, "(in "+dir+": data_dir is not there yet)")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	is(t, DiskSync(context.Background(), "/proc/self", lan), Bad, "write in /proc/self")
}

// A disk that does not come back ends the measurement all the same.
func TestDiskHangs(t *testing.T) {
	thaw, ended := make(chan struct{}), make(chan struct{})
	_, err := measureSync(context.Background(), t.TempDir(), time.Millisecond, func(context.Context, *os.File, chan<- time.Duration, time.Time) error {
		<-thaw
		close(ended)
		return nil
	})
	if !errors.Is(err, errHung) {
		t.Errorf("error %v", err)
	}
	close(thaw)
	<-ended
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := measureSync(ctx, t.TempDir(), time.Minute, syncPages); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

const mounts = `27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
22 27 0:21 / /proc rw,relatime - proc proc rw
30 27 0:9 / /run rw,nosuid shared:1 - tmpfs tmpfs rw,mode=755
31 27 0:9 / /var/lib rw - xfs /dev/vdb rw
32 27 0:9 / /var/lib/flip rw - tmpfs tmpfs rw
33 27 0:9 / /over rw - overlay overlay rw
34 27 0:9 / /net\040share rw - nfs4 host:/x rw
35 27 0:9 / /locked ro,relatime - ext4 /dev/vdc rw
36 27 0:9 / /daring rw - ext4 /dev/vdd rw,nobarrier
37 27 0:9 / /var/lib rw - btrfs /dev/vde rw
not a mount
`

func tree(files map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return root
}

func TestFileSystems(t *testing.T) {
	root := tree(map[string]string{"proc/self/mountinfo": mounts})
	for dir, want := range map[string]struct {
		v     Verdict
		words string
	}{
		"/srv/flip":       {OK, "ext4 on /"},
		"/var/library":    {OK, "ext4 on /"}, // not below /var/lib
		"/var/lib/other":  {OK, "btrfs on /var/lib"},
		"/var/lib/flip/a": {Bad, "forgets how this node voted"},
		"/over/x":         {Warn, "container"},
		"/net share/x":    {Warn, "network"},
		"/locked":         {Bad, "read-only"},
		"/daring/x":       {Warn, "barriers"},
	} {
		is(t, DataFS(root, dir), want.v, want.words)
	}
	is(t, SocketDir(root, "/run/flip"), OK, "tmpfs on /run")
	is(t, SocketDir(root, "/srv/run"), Note, "outlives a reboot")
	is(t, SocketDir(tree(nil), "/run"), Skip, "read mounts")
	is(t, DataFS(tree(nil), "/run"), Skip, "read mounts")
}
