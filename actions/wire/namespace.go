package wire

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// threadNamespace names the network namespace of the calling thread.
const threadNamespace = "/proc/thread-self/ns/net"

// A namespace is a network namespace that sockets can be opened in later, from
// whatever thread. A goroutine has no thread of its own, and a socket belongs to
// the namespace of the thread that opened it.
type namespace struct {
	fd   int // -1: not known, so the thread's
	here unix.Stat_t
}

// currentNamespace is that of the calling thread; without /proc it is not known.
func currentNamespace() namespace {
	fd, err := unix.Open(threadNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return namespace{fd: -1}
	}
	n := namespace{fd: fd}
	if err := unix.Fstat(fd, &n.here); err != nil {
		n.close()
		return namespace{fd: -1}
	}
	return n
}

// open runs socket on a thread in the namespace.
func (n namespace) open(socket func() (int, error)) (int, error) {
	if n.fd < 0 {
		return socket()
	}
	runtime.LockOSThread()
	var now unix.Stat_t
	if err := unix.Stat(threadNamespace, &now); err != nil || now.Ino == n.here.Ino && now.Dev == n.here.Dev {
		defer runtime.UnlockOSThread()
		return socket()
	}
	runtime.UnlockOSThread()

	type opened struct {
		fd  int
		err error
	}
	done := make(chan opened)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and the foreign
		// namespace with it.
		runtime.LockOSThread()
		if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
			done <- opened{-1, fmt.Errorf("enter the network namespace: %w", err)}
			return
		}
		fd, err := socket()
		done <- opened{fd, err}
	}()
	o := <-done
	return o.fd, o.err
}

func (n namespace) close() {
	if n.fd >= 0 {
		_ = unix.Close(n.fd)
	}
}
