package lab

import (
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sys/unix"
)

// RunEcho answers UDP on EchoPort of every address of both families, from the
// address that was asked and with the host's name behind what was sent. It says
// so on ready once it listens and never returns without an error.
func RunEcho(name string, ready io.Writer) error {
	failed := make(chan error, 2)
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		fd, err := listenEcho(family)
		if err != nil {
			return err
		}
		go func() {
			runtime.LockOSThread() // blocks in the kernel, not in the runtime's poller
			failed <- echo(fd, name)
		}()
	}
	if _, err := fmt.Fprintln(ready, "listening"); err != nil {
		return fmt.Errorf("say that the echo listens: %w", err)
	}
	return <-failed
}

func listenEcho(family int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("echo socket: %w", err)
	}
	if family == unix.AF_INET {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Port: EchoPort})
		}
	} else {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet6{Port: EchoPort})
		}
	}
	if err != nil {
		return 0, fmt.Errorf("bind echo socket: %w", err)
	}
	return fd, nil
}

func echo(fd int, name string) error {
	buf, oob := make([]byte, 2048), make([]byte, 128)
	for {
		n, oobn, _, from, err := unix.Recvmsg(fd, buf[:1500], oob, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("echo: %w", err)
		}
		// The packet info that came says which address was asked; sent back, it
		// says from which to answer. An address that has gone meanwhile, or whose
		// gate is shut, is an error here and no answer there.
		_ = unix.Sendmsg(fd, append(buf[:n], name...), oob[:oobn], from, 0)
	}
}
