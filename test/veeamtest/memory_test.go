// Tests of the way without a socket, under a clock that does not wait.

package veeamtest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func inMemory(s *Server, method, path, bearer, body string) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	context.AfterFunc(ctx, cancel)
	r, err := http.NewRequestWithContext(ctx, method, "https://vbr.invalid"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("x-api-version", version(s))
	r.Header.Set("Content-Type", formType)
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	return s.Transport().RoundTrip(r)
}

func TestTheServerWorksInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(VBR13, WithLatency(10*time.Second))
		began := time.Now()
		access, _ := defaultLogin(t, s)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("latency: %v", took)
		}
		got, err := inMemory(s, "GET", "/api/v1/stream?chunks=3&ms=1000", access, "")
		if err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		body, err := io.ReadAll(got.Body)
		if err != nil || strings.Count(string(body), "data:") != 3 || time.Since(began) != 2*time.Second {
			t.Errorf("%q %v after %v", body, err, time.Since(began))
		}
		got.Body.Close()

		time.Sleep(15 * time.Minute)
		if status(s, access) != 401 {
			t.Error("the token outlived its time")
		}
	})
}

func TestFaultsInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(VBR13)
		for _, c := range []struct {
			fault Fault
			want  error // of the exchange or, if it has begun, of its body
			begun bool
		}{
			{Fault{Kind: FaultReset}, errReset, false},
			{Fault{Kind: FaultHang}, context.DeadlineExceeded, false},
			{Fault{Kind: FaultResetAfterHeaders}, errReset, true},
			{Fault{Kind: FaultSlow}, context.DeadlineExceeded, true},
			{Fault{Kind: FaultEmpty}, nil, true},
		} {
			s.SetFault(c.fault)
			got, err := inMemory(s, "POST", s.TokenPath(), "", "grant_type=password")
			if (err == nil) != c.begun {
				t.Errorf("%s: %v", c.fault.Kind, err)
			}
			if err == nil {
				_, err = io.ReadAll(got.Body)
				got.Body.Close()
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.fault.Kind, err, c.want)
			}
		}
	})
}

func TestLeavingEarlyEndsTheExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(AWS)
		access, _ := defaultLogin(t, s)
		got, err := inMemory(s, "GET", "/api/v1/download?size=1000000000000", access, "")
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close() // the bubble waits for the handler to end
	})
}
