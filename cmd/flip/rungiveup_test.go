package main

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestInTime(t *testing.T) {
	broken := errors.New("broken")
	synctest.Test(t, func(t *testing.T) {
		hangs := make(chan struct{})
		for name, test := range map[string]struct {
			f    func() error
			want error
			took time.Duration
		}{
			"ends":       {func() error { return nil }, nil, 0},
			"fails":      {func() error { time.Sleep(time.Second); return broken }, broken, time.Second},
			"never ends": {func() error { <-hangs; return nil }, errStuck, 2 * time.Second},
		} {
			began := time.Now()
			err := inTime(2*time.Second, test.f)
			if took := time.Since(began); !errors.Is(err, test.want) || took != test.took {
				t.Errorf("%s: %v after %v", name, err, took)
			}
		}
		close(hangs)
	})
}
