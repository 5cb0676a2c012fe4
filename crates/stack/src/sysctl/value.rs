//! How a sysctl's value is written and read as text, and which values Linux takes.
//!
//! Linux: kernel/sysctl.c, `proc_dointvec_minmax`, `proc_dointvec_jiffies`, `proc_dointvec_ms_jiffies`,
//! `proc_dointvec_userhz_jiffies`, `proc_doulongvec_minmax`.

use core::time::Duration;

/// How the kernel's handler reads and prints the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// A number within these bounds.
    Int(i64, i64),
    /// A duration in whole seconds (`proc_dointvec_jiffies`).
    Seconds,
    /// A duration in milliseconds (`proc_dointvec_ms_jiffies`).
    Millis,
    /// A duration in `USER_HZ` ticks of 10 ms (`proc_dointvec_userhz_jiffies`).
    UserHz,
    /// Free text, kept as it is.
    Text,
    /// Can only be read.
    ReadOnly,
}

/// Any `int` (`proc_dointvec`).
pub(crate) const INT: Codec = Codec::Int(i32::MIN as i64, i32::MAX as i64); // widening
/// `0..=i32::MAX`.
pub(crate) const NON_NEGATIVE: Codec = Codec::Int(0, i32::MAX as i64); // widening
/// `0..=1` with `SYSCTL_ZERO`, `SYSCTL_ONE`.
pub(crate) const BOOL: Codec = Codec::Int(0, 1);
/// Any `u8` (`proc_dou8vec_minmax` without bounds).
pub(crate) const U8: Codec = Codec::Int(0, 255);
/// Any `unsigned int` (`proc_douintvec`).
pub(crate) const UINT: Codec = Codec::Int(0, u32::MAX as i64); // widening

/// The value does not fit: what would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) String);

/// A type that a sysctl's field can have.
pub(crate) trait Value: Sized {
    /// As `sysctl` prints it.
    fn text(&self, codec: Codec) -> String;
    /// From what was written to the file.
    fn read(text: &str, codec: Codec) -> Result<Self, Refused>;
}

/// The kernel's `strtoul(base 0)`: decimal, `0x` hexadecimal, leading `0` octal; a sign.
fn number(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let value = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        i64::from_str_radix(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        i64::from_str_radix(digits, 8)
    } else if digits.starts_with(|c: char| c.is_ascii_digit()) {
        digits.parse()
    } else {
        return None;
    };
    value.ok().map(|v| if negative { -v } else { v })
}

/// Reads an integer within the codec's bounds.
fn bounded(text: &str, codec: Codec, type_max: i64) -> Result<i64, Refused> {
    let (min, max) = match codec {
        Codec::Int(min, max) => (min, max.min(type_max)),
        Codec::Seconds | Codec::Millis | Codec::UserHz => (0, i32::MAX.into()),
        Codec::Text => (i64::MIN, type_max),
        Codec::ReadOnly => return Err(Refused("it can only be read".into())),
    };
    match number(text) {
        Some(v) if (min..=max).contains(&v) => Ok(v),
        Some(_) => Err(Refused(format!("a number from {min} to {max}"))),
        None => Err(Refused("a number".into())),
    }
}

macro_rules! integer_values {
    ($($ty:ty)*) => {$(
        impl Value for $ty {
            fn text(&self, _codec: Codec) -> String {
                self.to_string()
            }
            fn read(text: &str, codec: Codec) -> Result<Self, Refused> {
                let max = i64::try_from(<$ty>::MAX).unwrap_or(i64::MAX);
                let value = bounded(text, codec, max)?;
                <$ty>::try_from(value).map_err(|_| Refused(format!("a number up to {max}")))
            }
        }
    )*};
}

integer_values!(u8 u16 i32 u32 i64 u64);

impl Value for Duration {
    fn text(&self, codec: Codec) -> String {
        match codec {
            Codec::Millis => self.as_millis().to_string(),
            Codec::UserHz => (self.as_millis() / 10).to_string(),
            Codec::Seconds | Codec::Int(..) | Codec::Text | Codec::ReadOnly => self.as_secs().to_string(),
        }
    }

    fn read(text: &str, codec: Codec) -> Result<Self, Refused> {
        let n = u64::try_from(bounded(text, codec, i64::MAX)?).expect("the bounds start at 0");
        Ok(match codec {
            Codec::Millis => Duration::from_millis(n),
            Codec::UserHz => Duration::from_millis(n * 10),
            Codec::Seconds | Codec::Int(..) | Codec::Text | Codec::ReadOnly => Duration::from_secs(n),
        })
    }
}

/// Vectors such as `tcp_rmem`: printed with tabs; fewer numbers than there are change the first ones only
/// in the kernel, which is refused here because it is never meant.
impl<const N: usize> Value for [i64; N] {
    fn text(&self, _codec: Codec) -> String {
        self.iter().map(i64::to_string).collect::<Vec<_>>().join("\t")
    }

    fn read(text: &str, codec: Codec) -> Result<Self, Refused> {
        let mut values = [0; N];
        let mut words = text.split_whitespace();
        for value in &mut values {
            let word = words.next().ok_or_else(|| Refused(format!("{N} numbers")))?;
            *value = bounded(word, codec, i64::MAX)?;
        }
        if words.next().is_some() { Err(Refused(format!("{N} numbers"))) } else { Ok(values) }
    }
}

impl Value for String {
    fn text(&self, _codec: Codec) -> String {
        self.clone()
    }

    fn read(text: &str, codec: Codec) -> Result<Self, Refused> {
        if codec == Codec::ReadOnly {
            return Err(Refused("it can only be read".into()));
        }
        Ok(text.trim().to_string())
    }
}

/// One sysctl of a group `T`.
pub(crate) struct Key<T: 'static> {
    /// Its name within the group.
    pub(crate) name: &'static str,
    /// Its value as text.
    pub(crate) text: fn(&T) -> String,
    /// Changes it.
    pub(crate) write: fn(&mut T, &str) -> Result<(), Refused>,
    /// Copies it from another group of the same kind.
    pub(crate) copy: fn(&mut T, &T),
}

/// A struct whose fields are sysctls: its `Default` is the kernel's, its `KEYS` name them.
macro_rules! sysctls {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($key:literal $field:ident : $ty:ty = $default:expr, $codec:expr;)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $(#[doc = concat!("`", $key, "`")] pub $field: $ty,)*
        }
        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }
        impl $name {
            pub(crate) const KEYS: &'static [$crate::sysctl::value::Key<$name>] = &[$(
                $crate::sysctl::value::Key {
                    name: $key,
                    text: |t| $crate::sysctl::value::Value::text(&t.$field, $codec),
                    write: |t, s| {
                        t.$field = $crate::sysctl::value::Value::read(s, $codec)?;
                        Ok(())
                    },
                    copy: |to, from| to.$field = from.$field.clone(),
                },
            )*];
        }
    };
}
pub(crate) use sysctls;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_kernel_reads_them() {
        assert_eq!(i32::read(" 0x10\n", INT), Ok(16));
        assert_eq!(i32::read("010", INT), Ok(8));
        assert_eq!(i32::read("-1", INT), Ok(-1));
        assert!(i32::read("2147483648", INT).is_err());
        assert!(i32::read("one", INT).is_err());
        assert!(u8::read("128", Codec::Int(1, 127)).is_err());
        assert_eq!(Duration::read("100", Codec::UserHz), Ok(Duration::from_secs(1)));
        assert_eq!(<[i64; 2]>::read("32768 60999", INT).unwrap().text(INT), "32768\t60999");
        assert!(<[i64; 2]>::read("1", INT).is_err());
    }
}
