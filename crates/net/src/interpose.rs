//! The machine's clocks and its randomness, taken over for the threads of a run (feature `interpose`).
//!
//! Libraries read `std::time::Instant` and `SystemTime` (a `Date` header, the age of a cookie or a session ticket) and
//! draw from the kernel's random numbers (TLS, hash maps, QUIC). All of that reaches the machine through a few symbols of
//! libc. This module defines them: on a thread that called [`enter`] they tell the time of its [`crate::Lab`] and draw from
//! its seed; on every other thread they are libc's own. So programs are repeatable as they are, with unmodified crates.
//!
//! What it does not reach: `/dev/urandom`, other threads (`spawn_blocking`, `tokio::fs`), and tokio's order of branches in
//! `select!`, whose seed counts the runtimes of the process: the same in every process, another in its second run.

#![expect(unsafe_code, reason = "symbols of libc are defined and called")]

use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Time of day at a lab's zero: 2027-01-15 08:00:00 UTC, in seconds since 1970. Certificates and cookies are made for it.
pub const UNIX_START: u64 = 1_800_000_000;

/// What `CLOCK_MONOTONIC` shows at a lab's zero, in seconds: libraries subtract from it.
const UPTIME: u64 = 1_000;

thread_local! {
    /// The clock of this thread's lab, in ns.
    static CLOCK: Cell<*const AtomicU64> = const { Cell::new(ptr::null()) };
    /// The state of this thread's random numbers.
    static RANDOM: Cell<Option<u64>> = const { Cell::new(None) };
    /// Keeps the clock alive, for [`clock`].
    static OWNER: RefCell<Option<Arc<AtomicU64>>> = const { RefCell::new(None) };
}

/// The thread is its lab's until this goes.
#[must_use = "the machine's clocks are back when it goes"]
pub struct Entered(PhantomData<*const ()>);

/// From now on the clocks of this thread are those of the next [`crate::Lab`] that is made on it, and its random numbers come
/// from `seed`. Call it first on a fresh thread: what libraries keep for a thread was drawn otherwise before.
///
/// # Panics
/// When the thread is inside already, or when the program was linked so that libc's own symbols are used.
pub fn enter(seed: u64) -> Entered {
    let clock = Arc::new(AtomicU64::new(0));
    CLOCK.with(|cell| {
        assert!(cell.get().is_null(), "one lab at a time on a thread with interposed clocks");
        cell.set(Arc::as_ptr(&clock));
    });
    OWNER.set(Some(clock));
    RANDOM.set(Some(seed));
    let entered = Entered(PhantomData);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(UNIX_START);
    assert!(SystemTime::now() == now, "this program was linked without net's clock_gettime");
    entered
}

impl Drop for Entered {
    fn drop(&mut self) {
        CLOCK.set(ptr::null());
        RANDOM.set(None);
        OWNER.set(None);
    }
}

/// The clock of this thread, for the lab that moves it.
pub(crate) fn clock() -> Option<Arc<AtomicU64>> {
    OWNER.with_borrow(Clone::clone)
}

/// ns since the lab's zero, on a thread of one.
fn lab_time() -> Option<u64> {
    // A thread that is being taken down has no clock any more.
    let clock = CLOCK.try_with(Cell::get).unwrap_or(ptr::null());
    // SAFETY: `OWNER` keeps what the pointer shows to for as long as it is set.
    (!clock.is_null()).then(|| unsafe { (*clock).load(Ordering::Relaxed) })
}

fn unix_time() -> Option<u64> {
    lab_time().map(|ns| ns + UNIX_START * 1_000_000_000)
}

/// Fills `out` on a thread of a lab: SplitMix64.
///
/// # Safety
/// `out` must be valid for `len` bytes.
unsafe fn fill(out: *mut u8, len: usize) -> bool {
    let Ok(Some(mut state)) = RANDOM.try_with(Cell::get) else { return false };
    // SAFETY: as the caller promises; C's bytes may be uninitialised, so they are zeroed before they are a slice.
    let bytes = unsafe {
        ptr::write_bytes(out, 0, len);
        core::slice::from_raw_parts_mut(out, len)
    };
    for chunk in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
    }
    let _ = RANDOM.try_with(|cell| cell.set(Some(state)));
    true
}

/// libc's own function of a name. No lock and no memory of ours: it is called from inside of both.
fn real(cache: &AtomicUsize, name: &CStr) -> *mut c_void {
    let known = cache.load(Ordering::Relaxed);
    if known != 0 {
        return known as *mut c_void;
    }
    // SAFETY: the name ends with a zero.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast::<c_char>()) };
    if found.is_null() {
        std::process::abort();
    }
    cache.store(found as usize, Ordering::Relaxed);
    found
}

/// Declares libc's own function behind one of ours.
macro_rules! libc_own {
    ($name:ident: $ty:ty) => {{
        static CACHE: AtomicUsize = AtomicUsize::new(0);
        let found = real(
            &CACHE,
            const {
                match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!("an identifier has no zero"),
                }
            },
        );
        // SAFETY: the type is the one that libc declares.
        unsafe { core::mem::transmute::<*mut c_void, $ty>(found) }
    }};
}

/// `clock_gettime(2)`. CPU time stays the machine's.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(id: libc::clockid_t, out: *mut libc::timespec) -> c_int {
    let ns = match id {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => unix_time(),
        libc::CLOCK_MONOTONIC
        | libc::CLOCK_MONOTONIC_RAW
        | libc::CLOCK_MONOTONIC_COARSE
        | libc::CLOCK_BOOTTIME => lab_time().map(|ns| ns + UPTIME * 1_000_000_000),
        _ => None,
    };
    let Some(ns) = ns else {
        let own =
            libc_own!(clock_gettime: unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { own(id, out) };
    };
    let seconds = libc::time_t::try_from(ns / 1_000_000_000).expect("far before 2554");
    let nanos = c_long::try_from(ns % 1_000_000_000).expect("less than a second");
    // SAFETY: the caller hands out a place for the time.
    unsafe { *out = libc::timespec { tv_sec: seconds, tv_nsec: nanos } };
    0
}

/// `gettimeofday(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(out: *mut libc::timeval, zone: *mut c_void) -> c_int {
    let Some(ns) = unix_time() else {
        let own = libc_own!(gettimeofday: unsafe extern "C" fn(*mut libc::timeval, *mut c_void) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { own(out, zone) };
    };
    if !out.is_null() {
        let seconds = libc::time_t::try_from(ns / 1_000_000_000).expect("far before 2554");
        let micros = libc::suseconds_t::try_from(ns / 1_000 % 1_000_000).expect("less than a second");
        // SAFETY: the caller hands out a place for the time.
        unsafe { *out = libc::timeval { tv_sec: seconds, tv_usec: micros } };
    }
    0
}

/// `time(2)`: BoringSSL judges certificates by it.
#[unsafe(no_mangle)]
unsafe extern "C" fn time(out: *mut libc::time_t) -> libc::time_t {
    let Some(ns) = unix_time() else {
        let own = libc_own!(time: unsafe extern "C" fn(*mut libc::time_t) -> libc::time_t);
        // SAFETY: the caller's own argument.
        return unsafe { own(out) };
    };
    let seconds = libc::time_t::try_from(ns / 1_000_000_000).expect("far before 2554");
    if !out.is_null() {
        // SAFETY: the caller hands out a place for the time.
        unsafe { *out = seconds };
    }
    seconds
}

/// `getrandom(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(out: *mut c_void, len: usize, flags: libc::c_uint) -> isize {
    // SAFETY: the caller hands out `len` bytes.
    if unsafe { fill(out.cast(), len) } {
        return isize::try_from(len).expect("memory is smaller");
    }
    let own = libc_own!(getrandom: unsafe extern "C" fn(*mut c_void, usize, libc::c_uint) -> isize);
    // SAFETY: the caller's own arguments.
    unsafe { own(out, len, flags) }
}

/// `getentropy(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(out: *mut c_void, len: usize) -> c_int {
    // SAFETY: the caller hands out `len` bytes.
    if unsafe { fill(out.cast(), len) } {
        return 0;
    }
    let own = libc_own!(getentropy: unsafe extern "C" fn(*mut c_void, usize) -> c_int);
    // SAFETY: the caller's own arguments.
    unsafe { own(out, len) }
}

/// `syscall(2)`: BoringSSL and others ask for random numbers by number. It is variadic in C; six words are all that Linux
/// takes, and x86-64 and aarch64 pass them as they pass declared ones.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    // SAFETY: the arguments of getrandom: a buffer and its length.
    if number == libc::SYS_getrandom && unsafe { fill(a as *mut u8, usize::try_from(b).unwrap_or(0)) } {
        return b;
    }
    type Own = unsafe extern "C" fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long;
    let own = libc_own!(syscall: Own);
    // SAFETY: the caller's own arguments; more than it gave are not looked at by the kernel.
    unsafe { own(number, a, b, c, d, e, f) }
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher;
    use std::time::Instant;

    use super::*;
    use crate::{Lab, LabConfig};

    fn in_thread<R: Send>(f: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|scope| scope.spawn(f).join().expect("no panic"))
    }

    #[test]
    fn std_clocks_show_the_time_of_the_lab() {
        in_thread(|| {
            let _entered = enter(1);
            let mut lab = Lab::new(LabConfig::default());
            let start = Instant::now();
            let (slept, tokio_time, day) = lab.run(async {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                let tokio_time = tokio::time::Instant::now().into_std();
                (start.elapsed(), tokio_time, SystemTime::now())
            });
            assert_eq!(slept, Duration::from_secs(3600));
            assert_eq!(tokio_time, start + Duration::from_secs(3600), "tokio and std agree");
            assert_eq!(day.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), UNIX_START + 3600);
        });
    }

    #[test]
    fn random_numbers_come_from_the_seed() {
        let draw = |seed| {
            in_thread(move || {
                let _entered = enter(seed);
                let mut by_number = [0_u8; 20];
                // SAFETY: the buffer has that length.
                let n = unsafe { libc::syscall(libc::SYS_getrandom, by_number.as_mut_ptr(), 20_usize, 0) };
                assert_eq!(n, 20);
                (RandomState::new().hash_one("x"), by_number)
            })
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn other_threads_keep_the_machine_s() {
        in_thread(|| {
            let _entered = enter(1);
            let (elapsed, keys) = in_thread(|| {
                let begin = Instant::now();
                std::thread::sleep(Duration::from_millis(2));
                (begin.elapsed(), [0, 1].map(|_| in_thread(|| RandomState::new().hash_one("x"))))
            });
            assert!(elapsed >= Duration::from_millis(2));
            assert_ne!(keys[0], keys[1]);
        });
    }
}
