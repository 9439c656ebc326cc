//! Sockets.

use crate::kind::Kind::*;
use crate::kind::Size::*;

rows! {
    41 socket(domain: Int, type: Flags, protocol: Int);
    42 connect(sockfd: Fd, addr: In(Arg(2)), addrlen: Int) blocks;
    43 accept(sockfd: Fd, addr: SockaddrOut(2), addrlen: InOut(Const(4))) blocks;
    44 sendto(sockfd: Fd, buf: In(Arg(2)), len: Unsigned, flags: Flags, dest_addr: In(Arg(5)), addrlen: Int) blocks;
    45 recvfrom(sockfd: Fd, buf: Out(RetUpTo(2)), len: Unsigned, flags: Flags, src_addr: SockaddrOut(5), addrlen: InOut(Const(4))) blocks;
    46 sendmsg(sockfd: Fd, msg: MsghdrIn, flags: Flags) blocks;
    47 recvmsg(sockfd: Fd, msg: MsghdrOut, flags: Flags) blocks;
    48 shutdown(sockfd: Fd, how: Int);
    49 bind(sockfd: Fd, addr: In(Arg(2)), addrlen: Int);
    50 listen(sockfd: Fd, backlog: Int);
    51 getsockname(sockfd: Fd, addr: SockaddrOut(2), addrlen: InOut(Const(4)));
    52 getpeername(sockfd: Fd, addr: SockaddrOut(2), addrlen: InOut(Const(4)));
    53 socketpair(domain: Int, type: Flags, protocol: Int, sv: Out(Const(8)));
    54 setsockopt(sockfd: Fd, level: Int, optname: Int, optval: In(Arg(4)), optlen: Int);
    // ERANGE of SO_PEERSEC and SO_PEERGROUPS writes the length that was needed.
    55 getsockopt(sockfd: Fd, level: Int, optname: Int, optval: Sockopt, optlen: InOutAlways(Const(4)));
    288 accept4(sockfd: Fd, addr: SockaddrOut(2), addrlen: InOut(Const(4)), flags: Flags) blocks;
    299 recvmmsg(sockfd: Fd, msgvec: MmsghdrOut(2), vlen: Uint, flags: Flags, timeout: InOutAlways(Const(16))) blocks;
    307 sendmmsg(sockfd: Fd, msgvec: MmsghdrIn(2), vlen: Uint, flags: Flags) blocks;
}
