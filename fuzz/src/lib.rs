//! What the targets share: the oracles of the decoders' tests, under the paths that they have there.

mod decode;
pub mod message;

/// Checks what must hold of any `input` of the target `name`.
///
/// # Panics
/// If it does not hold.
pub fn check(name: &str, input: &[u8]) {
    let target = decode::oracle::TARGETS.iter().find(|target| target.0 == name);
    target.expect("every target has its check").1(input);
}
