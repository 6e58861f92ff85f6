package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/flip-ha/flip/secure/room"
)

const (
	// socketMode lets the socket's group in and nobody else.
	socketMode = 0o660
	// maxSocketPath is what sun_path holds besides its final zero byte.
	maxSocketPath = 107
	// A daemon on this machine accepts within microseconds; a full backlog is
	// still a daemon.
	probeTimeout = time.Second
)

// ErrSocketBusy says that another daemon answers on the socket.
var ErrSocketBusy = errors.New("another daemon answers on it")

// ListenUnix listens on path with mode 0660 and makes path's directory if it is
// not there. A socket that a dead daemon left is replaced; one on which a
// daemon answers is ErrSocketBusy. Closing the listener removes the socket,
// unless another has taken its place by then. It has room for a number of
// connections, one more closes the one that has been quiet for longest.
//
// Two daemons that start at the same instant could both find a stale socket:
// the lock on the data directory, taken before, keeps that from happening.
func ListenUnix(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen on %s: the path has %d bytes, a unix socket's at most %d; choose a shorter one", path, len(path), maxSocketPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := replaceable(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// Bound under another name and renamed once its mode is right: at no moment
	// is there a socket that more than its group can open.
	temp := filepath.Join(filepath.Dir(path), ".s"+strconv.Itoa(os.Getpid()))
	if len(temp) > maxSocketPath {
		return nil, fmt.Errorf("listen on %s: the directory's path is too long for a unix socket", path)
	}
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	info, err := publish(temp, path)
	if err != nil {
		_ = l.Close()
		_ = os.Remove(temp)
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return room.Listen(&unixListener{UnixListener: l, path: path, info: info}, socketRoom()), nil
}

func publish(temp, path string) (fs.FileInfo, error) {
	if err := os.Chmod(temp, socketMode); err != nil {
		return nil, err
	}
	info, err := os.Lstat(temp)
	if err != nil {
		return nil, err
	}
	return info, os.Rename(temp, path)
}

// replaceable reports why path may not be taken, if so.
func replaceable(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("something that is no socket is there; move it away")
	}
	c, err := net.DialTimeout("unix", path, probeTimeout)
	switch {
	case err == nil:
		_ = c.Close()
		return ErrSocketBusy
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.EAGAIN):
		return ErrSocketBusy
	default:
		return err
	}
}

type unixListener struct {
	*net.UnixListener
	path string
	info fs.FileInfo
	once sync.Once
}

// Close implements net.Listener.
func (l *unixListener) Close() error {
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
			_ = os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}

// Addr names the socket by its published path.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }
