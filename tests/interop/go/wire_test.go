package interop

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
)

// bdpPing is what grpc-go sends to estimate the bandwidth; source: internal/transport/bdp_estimator.go.
var bdpPing = [8]byte{2, 4, 16, 16, 9, 14, 7, 7}

// wire tells what a client really sends.
type wire struct {
	mu          sync.Mutex
	authorities []string // of each request; "(none)" if it had no :authority
	windows     []uint32 // each SETTINGS_INITIAL_WINDOW_SIZE
	bdpPings    int
}

func (w *wire) seen() wire {
	w.mu.Lock()
	defer w.mu.Unlock()
	return wire{authorities: w.authorities, windows: w.windows, bdpPings: w.bdpPings}
}

func (w *wire) frame(frame http2.Frame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch f := frame.(type) {
	case *http2.MetaHeadersFrame:
		authority := "(none)"
		for _, field := range f.PseudoFields() {
			if field.Name == ":authority" {
				authority = field.Value
			}
		}
		w.authorities = append(w.authorities, authority)
	case *http2.SettingsFrame:
		if size, ok := f.Value(http2.SettingInitialWindowSize); ok {
			w.windows = append(w.windows, size)
		}
	case *http2.PingFrame:
		if !f.IsAck() && f.Data == bdpPing {
			w.bdpPings++
		}
	}
}

func (w *wire) read(t *testing.T, from *io.PipeReader) {
	_, err := io.CopyN(io.Discard, from, int64(len(http2.ClientPreface)))
	framer := http2.NewFramer(nil, from)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for err == nil {
		var frame http2.Frame
		if frame, err = framer.ReadFrame(); err == nil {
			w.frame(frame)
		}
	}
	from.CloseWithError(err)
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the client's frames cannot be read: %v", err)
	}
}

type wiredConn struct {
	net.Conn
	copy *io.PipeWriter
}

func (c wiredConn) Write(bytes []byte) (int, error) {
	n, err := c.Conn.Write(bytes)
	c.copy.Write(bytes[:n])
	return n, err
}

func (c wiredConn) Close() error {
	c.copy.Close()
	return c.Conn.Close()
}

// dialer connects to the server whatever the address is, and listens in.
func (w *wire) dialer(t *testing.T) grpc.DialOption {
	path := socket(t)
	return grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err != nil {
			return nil, err
		}
		reader, writer := io.Pipe()
		go w.read(t, reader)
		return wiredConn{conn, writer}, nil
	})
}
