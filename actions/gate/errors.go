package gate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var (
	// ErrUnavailable says that this kernel has no nf_tables, or not the parts of
	// it that the gate needs.
	ErrUnavailable = errors.New("this kernel has no nf_tables for the gate: load the module nf_tables, or run without a gate and let takeovers wait for takeover_after")
	// ErrForbidden says that the process may not configure the network.
	ErrForbidden = errors.New("not permitted to use nf_tables: flip needs CAP_NET_ADMIN for the gate")
	// ErrForeign says that a table of the gate's name is there and belongs to
	// somebody else. It is left as it is.
	ErrForeign = errors.New("a table with the gate's name is not flip's to take")
	// ErrLapsed says that Renew was refused whole and opened nothing: the lease,
	// what the kernel had of it, or the fuse had run out. Asking again, when the
	// lease runs, is right.
	ErrLapsed = errors.New("the gate was not renewed")
	// ErrClosed says that the gate was closed or dismantled.
	ErrClosed = errors.New("the gate is closed")
)

// batchError is the kernel's refusal of one message of a batch, and so of the
// whole batch.
type batchError struct {
	index int // of the message, counted from 0 without the batch's frame; -1: the frame's
	errno unix.Errno
}

// Error implements error.
func (e *batchError) Error() string {
	return fmt.Sprintf("nf_tables refused message %d: %v", e.index, e.errno)
}

// Unwrap implements error.
func (e *batchError) Unwrap() error { return e.errno }

// refused says which message of the batch the kernel refused with errno.
func refused(err error, errno unix.Errno) (index int, ok bool) {
	var b *batchError
	if errors.As(err, &b) && b.errno == errno {
		return b.index, true
	}
	return 0, false
}

// explain adds the sentinel that tells a user what to do.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (%w)", ErrForbidden, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w (%w)", ErrUnavailable, err)
	}
	return err
}
